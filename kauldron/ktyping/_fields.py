"""Checks of dataclass fields, like those of function arguments."""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from collections.abc import Collection
from typing import Any

from kauldron._base import definitions
from kauldron.ktyping import _call, _checkers, _format, _hints, _scope


class Fields:
    """The fields of a dataclass, checked together in a scope of their own."""

    def __init__(self, cls: Any):
        self.cls = cls
        self.func = cls
        self.label = f"`{cls.__qualname__.replace('<locals>.', '')}`"
        self._early_hints = _hints.early_hints(cls)

    @property
    def location(self) -> str:
        return _format.format_location(self.cls)

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        hints: dict[str, Any] = {}
        for base in reversed(self.cls.__mro__):
            early = self._early_hints if base is self.cls else {}
            hints.update(_hints.late_hints(base, early))
        names = [field.name for field in dataclasses.fields(self.cls)]
        return {name: hints[name] for name in names if name in hints}

    def argument_checks(self, arguments: Any) -> Any:
        for name, hint in self.hints.items():
            if name in arguments:
                yield name, arguments[name], hint

    def _scope(self, obj: object) -> _scope.ShapeScope:
        values = {n: getattr(obj, n) for n in self.hints if hasattr(obj, n)}
        namespace = vars(sys.modules.get(self.cls.__module__, typing))
        scope = _scope.ShapeScope([{}], values, None, namespace, self)
        scope.defaults = {"self": obj}
        return scope

    def check(self, obj: object) -> None:
        scope = self._scope(obj)
        with _scope.entered(scope):
            for name, value, hint in self.argument_checks(scope.arguments):
                _call.check(name, value, hint, scope)

    def fit(self, obj: object) -> bool:
        """Whether the fields, as they are now, fit."""
        return self.fit_some(obj, self.hints, None)

    def fit_some(self, obj: object, names: Collection[str], look_into: object) -> bool:
        """Whether some of the fields fit, and what `look_into` finds inside of them."""
        scope = self._scope(obj)
        scope.look_into = look_into
        candidates = scope.candidates
        for name, value, hint in self.argument_checks(scope.arguments):
            if name in names:
                candidates = _checkers.checker(hint)(value, candidates, scope)
        return bool(candidates)


class Undecorated:
    """Looks into objects of undecorated dataclasses.

    Args:
      only_arrays: Whether to look at those fields alone that may hold arrays.
    """

    def __init__(self, *, only_arrays: bool):
        self._only_arrays = only_arrays
        self._fields = definitions.cached(Fields)

    def fit(self, obj: object) -> bool:
        """Whether the fields fit."""
        cls = type(obj)
        return self._fields(cls).fit_some(obj, self.hints(cls), self)

    def hints(self, cls: type) -> dict[str, Any]:
        """Returns the annotations of the fields that are looked at."""
        hints = self._fields(cls).hints
        if not self._only_arrays:
            return hints
        return {n: h for n, h in hints.items() if _checkers.may_hold_dims(h)}


# By `fields` of `@typechecked`.
LOOK_INTO: dict[str, Undecorated | None] = {
    "decorated": None,
    "arrays": Undecorated(only_arrays=True),
    "all": Undecorated(only_arrays=False),
}
