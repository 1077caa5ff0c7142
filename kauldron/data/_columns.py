"""Rows as columns: many elements held key by key, so that work is done on whole arrays.

A *column* holds one value per row: a NumPy array whose first axis counts rows, a list
(values that were not stacked yet, or cannot be), or a dict of columns. Elements that are
dicts become a dict of columns; anything else is one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kauldron.data import _errors

Column: TypeAlias = Any


def from_rows(rows: Sequence[Any]) -> Column:
    """Returns the columns of elements; nested values stay as they are until stacked.

    Raises:
      DataError: If some elements have other keys than the first.
    """
    first = rows[0]
    if not isinstance(first, Mapping):
        return list(rows)
    try:
        if set(map(len, rows)) == {len(first)}:
            return {key: [row[key] for row in rows] for key in first}
    except (KeyError, TypeError, IndexError):
        pass
    raise _different_keys(rows, "element")


def row(column: Column, index: int) -> Any:
    """Returns one element; arrays are views."""
    if type(column) is dict:
        return {key: row(child, index) for key, child in column.items()}
    return column[index]


def rows(column: Column) -> list[Any]:
    """Returns all elements."""
    if type(column) is not dict:
        return list(column)
    children = [rows(child) for child in column.values()]
    keys = tuple(column)
    return [
        dict(zip(keys, values, strict=True)) for values in zip(*children, strict=True)
    ]


def num_rows(column: Column) -> int:
    """Returns how many elements there are; 0 if there is no key."""
    while type(column) is dict:
        if not column:
            return 0
        column = next(iter(column.values()))
    return len(column)


def select(column: Column, indices: np.ndarray | slice) -> Column:
    """Returns some of the rows."""
    if type(column) is dict:
        return {key: select(child, indices) for key, child in column.items()}
    if isinstance(column, np.ndarray) or isinstance(indices, slice):
        return column[indices]
    return [column[i] for i in indices]


def concatenate(columns: Sequence[Column], path: str = "") -> Column:
    """Returns the rows of several columns, one after the other.

    Raises:
      DataError: If the keys differ.
    """
    if len(columns) == 1:
        return columns[0]
    first = columns[0]
    if type(first) is dict:
        if any(type(c) is not dict or c.keys() != first.keys() for c in columns):
            raise _different_keys(columns, "part of the data")
        return {
            key: concatenate([c[key] for c in columns], _join(path, key))
            for key in first
        }
    if all(isinstance(c, np.ndarray) for c in columns) and (
        len({(c.shape[1:], c.dtype) for c in columns}) == 1
    ):
        return np.concatenate(columns)
    return [value for column in columns for value in rows(column)]


def is_stackable(column: Column) -> bool:
    """Whether `stack` gives a numeric array, judged by the first rows."""
    if isinstance(column, np.ndarray):
        return column.dtype != object
    if not isinstance(column, list) or not column:
        return False
    first = column[0]
    if isinstance(first, np.ndarray):
        shape, dtype = first.shape, first.dtype
        for x in column:
            if type(x) is not np.ndarray or x.shape != shape or x.dtype != dtype:
                return False
        return dtype.kind != "O"
    return isinstance(first, bool | int | float | np.generic)


def stack(column: Column, path: str = "") -> Any:
    """Returns arrays with a leading axis of rows, in the structure of one element.

    Numbers and lists of numbers become arrays; strings and bytes arrays of objects.

    Raises:
      DataError: If shapes or keys differ between rows; names the key and both shapes.
    """
    if isinstance(column, np.ndarray):
        if column.dtype != object:
            return column
        column = list(column)
    if type(column) is dict:
        return {key: stack(child, _join(path, key)) for key, child in column.items()}
    first = column[0]
    if isinstance(first, Mapping):
        return stack(from_rows(column), path)
    if isinstance(first, tuple):
        parts = [
            stack([value[i] for value in column], _join(path, i))
            for i in range(len(first))
        ]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if isinstance(first, str | bytes):
        stacked = np.empty(len(column), dtype=object)
        stacked[:] = column
        return stacked
    if first is None:
        raise _errors.DataError(
            f"{_at(path)} is None, which cannot be batched. Drop it with "
            "`kd.data.Elements(drop=[...])`."
        )
    try:
        stacked = np.array(column)
    except ValueError:
        raise _different_shapes(column, path) from None
    if stacked.dtype == object:
        raise _different_shapes(column, path)
    return stacked


def zeros_after(column: Column, num_zeros: int) -> Column:
    """Returns stacked columns with rows of zeros (or empty strings) appended."""
    if type(column) is dict:
        return {key: zeros_after(child, num_zeros) for key, child in column.items()}
    if isinstance(column, tuple):
        parts = [zeros_after(child, num_zeros) for child in column]
        return type(column)(*parts) if hasattr(column, "_fields") else tuple(parts)
    if column.dtype == object:
        padding = np.empty(num_zeros, dtype=object)
        padding[:] = [type(column[0])()] * num_zeros
    else:
        padding = np.zeros((num_zeros, *column.shape[1:]), column.dtype)
    return np.concatenate([column, padding])


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _at(path: str) -> str:
    return f"The value of key {path!r}" if path else "The element"


def _different_keys(parts: Sequence[Any], what: str) -> _errors.DataError:
    first = parts[0]
    other = next(
        p for p in parts if not isinstance(p, Mapping) or p.keys() != first.keys()
    )
    seen = sorted(other) if isinstance(other, Mapping) else type(other).__name__
    return _errors.DataError(
        f"All elements must have the same keys: one {what} has {sorted(first)}, "
        f"another {seen}. Drop or add keys with `kd.data.Elements(keep=...)` or "
        "`kd.data.AddConstants`."
    )


def _different_shapes(column: Sequence[Any], path: str) -> _errors.DataError:
    shapes = []
    for value in column:
        try:
            shape = np.shape(value)
        except ValueError:  # a ragged list
            shape = "ragged"
        if shape not in shapes:
            shapes.append(shape)
    if len(shapes) == 1:
        kind = type(column[0]).__name__
        return _errors.DataError(
            f"{_at(path)} is a {kind} of shape {shapes[0]} that is no array of "
            "numbers. Drop it with `kd.data.Elements(drop=[...])`, or convert it."
        )
    return _errors.DataError(
        f"{_at(path)} cannot be batched: its shape differs between elements, e.g. "
        f"{shapes[0]} and {shapes[1]}. Make them equal with `kd.data.Resize`, "
        "`kd.data.CenterCrop` or `kd.data.PadToShape`."
    )
