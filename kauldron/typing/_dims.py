"""The older functions on dims."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from kauldron.ktyping import (
    CONFIG,
    KTypeCheckError,
    NoActiveScopeError,
    ShapeError,
    dim,
    get_current_scope,
    shape,
)
from kauldron.ktyping import Shape as _ShapeType
from kauldron.ktyping import check_type as _check_in_scope
from kauldron.typing._typechecked import typechecked as _typechecked

_T = TypeVar("_T")


def check_type(value: _T, annotation: Any) -> _T:
    """Checks a value; inside a `@typechecked` function, its dims become known.

    Raises:
      TypeCheckError: If it does not fit.
    """
    caller = sys._getframe(1).f_code
    try:
        is_inside = get_current_scope().code is caller
    except NoActiveScopeError:
        is_inside = False
    if is_inside:
        return _check_in_scope(value, annotation, nested_ok=True)
    with _typechecked():
        return _check_in_scope(value, annotation, nested_ok=True)


def Dim(name: str) -> int:
    """Returns the size of a dim, inside a `@typechecked` function.

    Raises:
      ShapeError: A `ValueError`: it is unknown or ambiguous.
      NoActiveScopeError: If no `@typechecked` function is around.
    """
    (size,) = _evaluate(name, count=1)
    return size


def set_shape(pattern: str, shape: int | Sequence[int]) -> None:
    """Makes the dims known that the pattern names.

    Args:
      pattern: Such as `"*b h"`.
      shape: The sizes; of a single dim, also the size itself.

    Raises:
      ShapeError: A `ValueError`: the shape does not fit.
      NoActiveScopeError: If no `@typechecked` function is around.
    """
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    try:
        _check_in_scope(sizes, _ShapeType[pattern], nested_ok=True)
    except KTypeCheckError as error:
        raise ShapeError(f"{pattern!r} cannot be {sizes}: {error}") from error


def enable_kd_type_checking() -> None:
    """Checks every field of every dataclass that is passed, from now on.

    Without it, functions decorated by this module look at those fields that are
    annotated with array types. Unions are always checked thoroughly.
    """
    CONFIG.fields = "all"


def _evaluate(text: str, count: int | None = None) -> tuple[int, ...]:
    sizes = shape(text, nested_ok=True)
    if count is not None and len(sizes) != count:
        raise ShapeError(f"{text!r} stands for {len(sizes)} sizes: {dim!r}.")
    return sizes


class _CallableShapeMeta(type(_ShapeType)):
    """`Shape("*b h")` gives the sizes; `Shape["*b h"]` is the type of a tuple."""

    def __call__(cls, text: str) -> tuple[int, ...]:
        return _evaluate(text)


class Shape(_ShapeType, metaclass=_CallableShapeMeta):
    """The sizes a spec stands for, inside a `@typechecked` function: `Shape("*b h")`.

    As an annotation, a tuple of sizes.
    """
