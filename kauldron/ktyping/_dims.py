"""Querying dims, and checking single values: `dim`, `shape`, `check_type`."""

from __future__ import annotations

import builtins
import sys
from typing import Any, TypeVar

from kauldron._base import errors
from kauldron.ktyping import _call, _checkers, _match, _parser, _scope, _spec
from kauldron.ktyping._errors import (
    AmbiguousDimensionError,
    ShapeError,
    UnknownDimensionError,
)

_T = TypeVar("_T")


def check_type(value: _T, hint: object, *, nested_ok: bool = False) -> _T:
    """Checks a value as if it were one more argument; its dims become known.

    Args:
      value: What to check.
      hint: The annotation.
      nested_ok: Whether the scope may belong to another function than the caller.

    Returns:
      `value`.

    Raises:
      KTypeCheckError: If it does not fit.
      NoActiveScopeError: If the caller is not a `@typechecked` function.
    """
    scope = _scope.require(None if nested_ok else sys._getframe(1))
    _call.check("", value, hint, scope)
    return value


def isinstance(value: object, hint: object) -> bool:
    """Returns whether a value fits, given the dims known by now; binds nothing.

    Of containers, only the first element is looked at.

    Args:
      value: What to look at.
      hint: An annotation, or a tuple of them.

    Raises:
      NoActiveScopeError: If the annotation has dims, and the caller is no
        `@typechecked` function.
    """
    hints = hint if builtins.isinstance(hint, tuple) else (hint,)
    scope = None
    candidates: list[_match.Candidate] = [{}]
    if any(map(_checkers.holds_dims, hints)):
        scope = _scope.require(sys._getframe(1))
        candidates = scope.candidates
    return any(
        _checkers.checker(h, is_shallow=True)(value, candidates, scope) for h in hints
    )


def shape(spec: str, *, nested_ok: bool = False) -> tuple[int, ...]:
    """Returns the shape that a spec stands for, given the dims known by now.

    Args:
      spec: Such as `"*b h/2 3"`.
      nested_ok: Whether the scope may belong to another function than the caller.

    Raises:
      ShapeError: If a dim is unknown or ambiguous, or stands for no particular size.
      NoActiveScopeError: If the caller is not a `@typechecked` function.
    """
    scope = _scope.require(None if nested_ok else sys._getframe(1))
    return shape_in(scope, spec)


def shape_in(scope: _scope.ShapeScope, text: str) -> tuple[int, ...]:
    """`shape` for a given scope."""
    spec = _parser.parse(text)
    if spec.has_fstring:
        spec = _parser.expand(spec, scope.evaluate)
    candidates = [k for c in scope.candidates for k in _match.assume_smallest(c)]
    shapes = {_evaluate_spec(spec, text, c) for c in candidates}
    only = next(iter(shapes)) if len(shapes) == 1 else None
    if only is not None:
        return only
    if None in shapes or not shapes:
        raise ShapeError(
            f"The shape {text!r} cannot be told: a dim in it is unknown. "
            f"Known: {scope}."
        )
    raise ShapeError(
        f"The shape {text!r} is ambiguous: {' or '.join(sorted(map(str, shapes)))}. "
        f"Known: {scope}."
    )


def _evaluate_spec(
    spec: _spec.Spec, text: str, candidate: _match.Candidate
) -> tuple[int, ...] | None:
    sizes: list[int] = []
    for node in spec.dims:
        named = builtins.isinstance(node, _spec.Variadic) and node.name
        if not named and not hasattr(node, "evaluate"):
            raise ShapeError(
                f"{str(node)!r} in {text!r} stands for no particular size."
            )
        if builtins.isinstance(node, _spec.Variadic) and not named:
            raise ShapeError(
                f"{str(node)!r} in {text!r} stands for no particular size."
            )
        try:
            value = node.evaluate(candidate)
        except (_spec.UnknownDim, _spec.NoValue):
            return None
        sizes.extend(value if builtins.isinstance(value, tuple) else (value,))
    return tuple(sizes)


class _Dims:
    """The dims of the current scope: `kt.dim["h"]`, `kt.dim["*b"]`."""

    def __getitem__(self, name: str) -> Any:
        """Returns a size, or sizes for `*b`.

        Raises:
          KeyError: If the dim is unknown.
          AmbiguousDimensionError: A `KeyError`: several values are possible.
        """
        key = _key(name)
        scope = _scope.require(None)
        values = {c.get(key, c.get(f"#{key}")) for c in scope.candidates}
        if len(values) > 1:
            shown = " or ".join(sorted(map(str, values)))
            raise AmbiguousDimensionError(
                f"The dim {name!r} is ambiguous: {shown}. Known: {scope}."
            )
        (value,) = values
        if value is None:
            raise UnknownDimensionError(_unknown(name, scope))
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        """Sets a dim that is not known yet.

        Raises:
          ValueError: If it is known already.
          TypeError: If the value is not an int, or ints for `*b`.
        """
        key = _key(name)
        scope = _scope.require(None)
        if any(key in c or f"#{key}" in c for c in scope.candidates):
            raise ValueError(f"The dim {name!r} is known already: {scope}.")
        if key.startswith("*"):
            is_ints = builtins.isinstance(value, tuple | list) and all(
                map(_is_int, value)
            )
            if not is_ints or (name.startswith("+") and not value):
                least = (
                    "one or more ints" if name.startswith("+") else "a tuple of ints"
                )
                raise TypeError(f"The dim {name!r} is {least}: got {value!r}.")
            value = tuple(value)
        elif not _is_int(value):
            raise TypeError(f"The dim {name!r} is an int: got {value!r}.")
        node = _spec.Variadic(key[1:]) if key.startswith("*") else _spec.Name(key)
        sizes = value if key.startswith("*") else (value,)
        found = _match.match(_spec.Spec((node,)), sizes, scope.candidates)
        if not found:
            raise ValueError(f"{name}={value} does not fit what is known: {scope}.")
        scope.candidates = found

    def __delitem__(self, name: str) -> None:
        raise TypeError("A dim cannot be forgotten: it holds for the whole scope.")

    def __contains__(self, name: str) -> bool:
        key = _key(name)
        scope = _scope.require(None)
        return all(key in c or f"#{key}" in c for c in scope.candidates)

    def __repr__(self) -> str:
        scope = _scope._current.get()
        return f"kt.dim({scope if scope is not None else 'no scope'})"


dim = _Dims()


def _key(name: str) -> str:
    if not builtins.isinstance(name, str):
        raise TypeError(f"A dim is named by a str: got {name!r}.")
    key = f"*{name[1:]}" if name.startswith("+") else name
    if not key.removeprefix("*").isidentifier():
        raise ValueError(f"Not the name of a dim: {name!r}. Write 'h', '*b' or '+b'.")
    return key


def _is_int(value: object) -> bool:
    if builtins.isinstance(value, bool):
        return False
    return hasattr(value, "__index__") or type(value).__name__ == "_DimExpr"


def _unknown(name: str, scope: _scope.ShapeScope) -> str:
    known = {
        k.removeprefix("#") for c in scope.candidates for k in c if k[0] not in "!$"
    }
    for other in (f"*{name}", name.removeprefix("*").removeprefix("+")):
        if other in known:
            return (
                f"The dim {name!r} is unknown. Did you mean {other!r}? Known: {scope}."
            )
    hint = errors.did_you_mean(name, sorted(known))
    return f"The dim {name!r} is unknown.{hint} Known: {scope}."
