"""Signatures of callables: parameters, and types that annotations make certain."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from typing import Any

from kauldron._base import definitions
from kauldron.konfig.names import _annotations

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Signature:
    """The parameters of a callable.

    Attributes:
      target: The callable.
      positional: Names of those that can be given by position, in order.
      named: Those that can be given by name.
      takes_any_positional: Whether there is `*args`.
      takes_any_named: Whether there is `**kwargs`.
    """

    target: Any
    positional: tuple[str, ...]
    named: dict[str, inspect.Parameter]
    takes_any_positional: bool
    takes_any_named: bool

    @functools.cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters without a default."""
        all_named = {**dict.fromkeys(self.positional), **self.named}
        return tuple(n for n in all_named if n in self._without_default)

    @functools.cached_property
    def _without_default(self) -> frozenset[str]:
        return frozenset(
            name
            for name, parameter in _parameters(self.target).items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        )

    @functools.cached_property
    def types(self) -> dict[str, Any]:
        """Parameter name -> type, for the annotations that can be evaluated."""
        return _type_hints(self.target)

    @functools.cached_property
    def _accepted(self) -> dict[str, frozenset[type] | None]:
        """Parameter name -> exact types that fit; `None` if any may."""
        return {
            name: _annotations.accepted_scalars(hint)
            for name, hint in self.types.items()
        }

    def rules_out(self, name: str, value: Any) -> bool:
        """Returns whether the annotation of a parameter certainly rules a value out."""
        accepted = self._accepted.get(name)
        if accepted is not None and type(value) in accepted:
            return False
        hint = self.types.get(name)
        return hint is not None and not _annotations.accepts(hint, value)

    def default_of(self, name: str) -> Any:
        """Returns the default of a parameter; `inspect.Parameter.empty` if none."""
        parameter = self.named.get(name)
        return inspect.Parameter.empty if parameter is None else parameter.default

    def describe(self) -> list[str]:
        """Returns `name` or `name=default` for each public parameter with a name."""
        return [
            name if p.default is p.empty else f"{name}={_short_default(p.default)}"
            for name, p in self.named.items()
            if not name.startswith("_")
        ]


@definitions.cached
def _get_cached(target: Any) -> Signature | None:
    return _make(target)


def get(target: Any) -> Signature | None:
    """Returns the signature of a callable, or `None` if it cannot be known."""
    try:
        return _get_cached(target)
    except TypeError:  # unhashable
        return _make(target)


def _make(target: Any) -> Signature | None:
    parameters = _parameters(target)
    if parameters is None:
        return None
    positional = [name for name, p in parameters.items() if p.kind in _POSITIONAL]
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    kinds = {p.kind for p in parameters.values()}
    return Signature(
        target=target,
        positional=tuple(positional),
        named=named,
        takes_any_positional=inspect.Parameter.VAR_POSITIONAL in kinds,
        takes_any_named=inspect.Parameter.VAR_KEYWORD in kinds,
    )


def _parameters(target: Any) -> Any:
    """Returns name -> `inspect.Parameter`, or `None` if it cannot be known."""
    if isinstance(target, type) and issubclass(target, enum.Enum):
        return None  # called with a value; the signature tells something else
    try:
        outer = inspect.signature(target, follow_wrapped=False)
        inner = inspect.signature(target)
    except (TypeError, ValueError):  # many builtins tell nothing
        return None
    except Exception:  # a `__signature__` or annotation of the target is broken
        return None
    kinds = {p.kind for p in outer.parameters.values()}
    # A decorated function is called with the outer signature. `*args, **kwargs` there
    # hand over to the inner one.
    if len(kinds) and kinds <= {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }:
        return dict(inner.parameters)
    return dict(outer.parameters)


def _short_default(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a third-party `__repr__`
        return "..."
    if "<" in text or "\n" in text or len(text) > 30:
        return "..."
    return text


def _type_hints(target: Any) -> dict[str, Any]:
    function = target
    if isinstance(target, type) and not dataclasses.is_dataclass(target):
        function = getattr(target, "__init__", target)
    function = inspect.unwrap(function) if callable(function) else function
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names under `TYPE_CHECKING`, unhappy forward references
        hints = _hints_one_by_one(function)
    hints.pop("return", None)
    return hints


def _hints_one_by_one(function: Any) -> dict[str, Any]:
    """Evaluates each annotation alone, and leaves out those that fail."""
    hints: dict[str, Any] = {}
    owners = reversed(function.__mro__) if isinstance(function, type) else [function]
    for owner in owners:
        module = sys.modules.get(getattr(owner, "__module__", ""), None)
        namespace = getattr(owner, "__globals__", None) or vars(module or types)
        try:
            annotations = inspect.get_annotations(owner)
        except TypeError:
            continue
        for name, annotation in annotations.items():
            if isinstance(annotation, str):
                try:
                    annotation = eval(annotation, namespace)
                except Exception:
                    hints.pop(name, None)
                    continue
            hints[name] = annotation
    return hints


def shifted(signature: Signature) -> Signature:
    """Returns the signature of `functools.partial(target, ...)`, the target aside."""
    return dataclasses.replace(signature, positional=("func", *signature.positional))
