"""Static information about a function: parameters, hints, checkers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kauldron.ktyping import _checkers, _format, _hints, _match, _report, _scope

Parameter = inspect.Parameter


class Call:
    """A function that is checked.

    Annotations are evaluated at the first call, so that they may name what is defined
    further down.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        label: str | None = None,
        fields: str = "decorated",
    ):
        self.func = func
        self.fields = fields
        self._label = label
        target = inspect.unwrap(func)
        self.code = getattr(target, "__code__", None)
        self.namespace = getattr(target, "__globals__", {})
        self.module = getattr(func, "__module__", None)
        parameters = inspect.signature(func).parameters.values()
        self.positional = [
            p.name
            for p in parameters
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.names = {
            p.name
            for p in parameters
            if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
        self.defaults = {
            p.name: p.default for p in parameters if p.default is not p.empty
        }
        kinds = {p.kind: p.name for p in parameters}
        self.var_positional = kinds.get(Parameter.VAR_POSITIONAL)
        self.var_keyword = kinds.get(Parameter.VAR_KEYWORD)
        self._early_hints = _hints.early_hints(target)

    @property
    def label(self) -> str:
        name = getattr(self.func, "__qualname__", repr(self.func))
        return self._label or f"`{name.replace('<locals>.', '')}`"

    @property
    def location(self) -> str:
        return _format.format_location(self.func)

    @functools.cached_property
    def hints(self) -> dict[str, Any]:
        """Evaluated annotations in the order of the signature, `return` last."""
        return _hints.late_hints(inspect.unwrap(self.func), self._early_hints)

    @functools.cached_property
    def checkers(self) -> list[tuple[str, _checkers.Checker]]:
        """Of the parameters that have one each: name and checker."""
        stars = (self.var_positional, self.var_keyword, "return")
        return [
            (name, _checkers.checker(hint))
            for name, hint in self.hints.items()
            if name not in stars and _checkers.checker(hint) is not _checkers.accept
        ]

    @functools.cached_property
    def return_checker(self) -> _checkers.Checker:
        return _checkers.checker(self.hints.get("return", Any))

    def new_scope(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> _scope.ShapeScope:
        """Returns a scope that knows the arguments, nothing checked yet."""
        arguments = dict(zip(self.positional, args, strict=False))
        if self.var_positional and len(args) > len(self.positional):
            arguments[self.var_positional] = args[len(self.positional) :]
        if kwargs:
            extra = {k: v for k, v in kwargs.items() if k not in self.names}
            arguments.update((k, v) for k, v in kwargs.items() if k in self.names)
            if self.var_keyword and extra:
                arguments[self.var_keyword] = extra
        return _scope.ShapeScope(
            [{}], arguments, self.code, self.namespace, self, self.defaults
        )

    def argument_checks(
        self, arguments: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any, Any]]:
        """Yields name, value, hint of everything passed, in order."""
        for name, hint in self.hints.items():
            if name == "return" or name not in arguments:
                continue
            if name == self.var_positional:
                for i, value in enumerate(arguments[name]):
                    yield f"*{name}[{i}]", value, hint
            elif name == self.var_keyword:
                for key, value in arguments[name].items():
                    yield f"**{name}[{key!r}]", value, hint
            else:
                yield name, arguments[name], hint

    def check_arguments(self, scope: _scope.ShapeScope) -> None:
        """Checks all arguments; raises `KTypeCheckError` for the first that fails."""
        arguments = scope.arguments
        candidates = scope.candidates
        for name, checker in self.checkers:
            if name in arguments:
                remaining = checker(arguments[name], candidates, scope)
                if not remaining:
                    hint = self.hints[name]
                    raise _report.failure(
                        name, arguments[name], hint, candidates, scope
                    )
                candidates = remaining
        scope.candidates = candidates
        if self.var_positional in arguments or self.var_keyword in arguments:
            self._check_stars(scope)

    def _check_stars(self, scope: _scope.ShapeScope) -> None:
        for name, value, hint in self.argument_checks(scope.arguments):
            if name.startswith("*"):
                check(name, value, hint, scope)

    def check_result(self, scope: _scope.ShapeScope, result: object) -> None:
        """Checks the returned value, and that nothing was left undetermined."""
        if self.return_checker is not _checkers.accept:
            remaining = self.return_checker(result, scope.candidates, scope)
            if not remaining:
                raise _report.failure(
                    "return value",
                    result,
                    self.hints["return"],
                    scope.candidates,
                    scope,
                )
            scope.candidates = remaining
        if all(_match.PENDING in c for c in scope.candidates):
            settled = [k for c in scope.candidates for k in _match.assume_smallest(c)]
            if all(_match.PENDING in c for c in settled):
                raise _report.undetermined(scope)


def check(name: str, value: object, hint: object, scope: _scope.ShapeScope) -> None:
    """Checks one value and updates the scope."""
    remaining = _checkers.checker(hint)(value, scope.candidates, scope)
    if not remaining:
        raise _report.failure(name, value, hint, scope.candidates, scope)
    scope.candidates = remaining
