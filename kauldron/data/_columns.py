"""Columnar batches of elements, so that transforms work on whole arrays.

A *column* holds one value per row: a NumPy array whose first axis counts rows, a list
(values that were not stacked yet, or cannot be), or a dict of columns. Elements that are
dicts become a dict of columns; anything else is one column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kauldron.data import _errors

Column: TypeAlias = Any

# What a row is called in messages, from its place among the rows.
NameRow: TypeAlias = Callable[[int], str]


def _row_of_batch(index: int) -> str:
    return f"row {index} of the batch"


def from_rows(
    rows: Sequence[Any], path: str = "", name_row: NameRow = _row_of_batch
) -> Column:
    """Returns the columns of elements; nested values stay as they are until stacked.

    Raises:
      DataError: If some elements have other keys than the first; names both.
    """
    first = rows[0]
    if not isinstance(first, Mapping):
        return list(rows)
    try:
        if set(map(len, rows)) == {len(first)}:
            return {key: [row[key] for row in rows] for key in first}
    except (KeyError, TypeError, IndexError):
        pass
    raise _different_keys(rows, path, name_row)


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


def num_bytes(column: Column) -> int:
    """Returns how much memory the arrays in it take."""
    if type(column) is dict:
        return sum(num_bytes(child) for child in column.values())
    if isinstance(column, list):
        return sum(getattr(value, "nbytes", 0) for value in column)
    return getattr(column, "nbytes", 0)


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
            raise _different_keys(columns, path, lambda i: f"part {i} of the data")
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
    """Whether `stack` gives a numeric array without converting single values."""
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
    is_number = isinstance(first, bool | int | float | np.generic)
    return is_number and len(set(map(type, column))) == 1


def stack(column: Column, path: str = "", name_row: NameRow = _row_of_batch) -> Any:
    """Returns arrays with a leading axis of rows, in the structure of one element.

    Numbers and lists of numbers become arrays, Python's `bool`, `int`, `float` those of
    bool, int64, float64; strings and bytes become arrays of objects. Nothing is converted
    to fit other rows.

    Raises:
      DataError: If shapes, dtypes or keys differ between rows, or a value isn't a
        number; names the key, the rows and what they have.
    """
    if isinstance(column, np.ndarray):
        if column.dtype != object:
            return column
        column = list(column)
    if type(column) is dict:
        return {
            key: stack(child, _join(path, key), name_row)
            for key, child in column.items()
        }
    first = column[0]
    if isinstance(first, Mapping):
        return stack(from_rows(column, path, name_row), path, name_row)
    if isinstance(first, tuple):
        return _stack_tuples(column, path, name_row)
    if isinstance(first, str | bytes):
        return _stack_texts(column, path, name_row)
    return _stack_numbers(column, path, name_row)


def _stack_tuples(column: list[Any], path: str, name_row: NameRow) -> Any:
    first = column[0]
    for index, value in enumerate(column):
        if not isinstance(value, tuple) or len(value) != len(first):
            raise _different(column, path, name_row, index, _structure)
    parts = [
        stack([value[i] for value in column], _join(path, i), name_row)
        for i in range(len(first))
    ]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def _stack_texts(column: list[Any], path: str, name_row: NameRow) -> np.ndarray:
    kind = str if isinstance(column[0], str) else bytes
    for index, value in enumerate(column):
        if not isinstance(value, kind):
            raise _different(column, path, name_row, index, _dtype_name)
    stacked = np.empty(len(column), dtype=object)
    stacked[:] = column
    return stacked


def _stack_numbers(column: list[Any], path: str, name_row: NameRow) -> np.ndarray:
    types = set(map(type, column))
    for kind, dtype in ((int, np.int64), (float, np.float64), (bool, np.bool_)):
        if types == {kind}:
            try:
                return np.array(column, dtype)
            except OverflowError:
                raise _no_number(column, path, name_row) from None
    if len(types) == 1 and issubclass(type(column[0]), np.generic):
        return np.array(column)
    try:
        rows = [x if isinstance(x, np.ndarray) else _as_array(x) for x in column]
    except (ValueError, OverflowError):
        raise _no_number(column, path, name_row) from None
    shapes = {x.shape for x in rows}
    dtypes = {x.dtype for x in rows if x.size}
    if any(dtype.kind == "O" for dtype in dtypes):
        raise _no_number(column, path, name_row)
    if len(dtypes) > 1 and {dtype.kind for dtype in dtypes} not in ({"U"}, {"S"}):
        rows_with = [i for i, x in enumerate(rows) if x.size]
        dtype = rows[rows_with[0]].dtype
        index = next(i for i in rows_with if rows[i].dtype != dtype)
        raise _different(column, path, name_row, index, _dtype_name, rows_with[0])
    if len(shapes) > 1:
        index = next(i for i, x in enumerate(rows) if x.shape != rows[0].shape)
        raise _different_shapes(rows[0].shape, rows[index].shape, path, name_row, index)
    return in_native_order(np.array(rows))


def in_native_order(array: np.ndarray) -> np.ndarray:
    """Returns numbers in the byte order of the machine, the only one that JAX knows."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _as_array(value: object) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.uint64 and not hasattr(value, "dtype"):
        raise OverflowError  # a Python int is an int64
    return array


def pad(column: Column, num_rows: int, length: int) -> Column:
    """Returns stacked columns of some length: rows, then zeros (or empty strings).

    Args:
      column: Stacked, at least one row: an example of what is padded.
      num_rows: How many rows are kept; may be 0.
      length: Number of rows of the result.
    """
    if type(column) is dict:
        return {key: pad(child, num_rows, length) for key, child in column.items()}
    if isinstance(column, tuple):
        parts = [pad(child, num_rows, length) for child in column]
        return type(column)(*parts) if hasattr(column, "_fields") else tuple(parts)
    shape = (length - num_rows, *column.shape[1:])
    if column.dtype == object:
        padding = np.empty(shape, dtype=object)
        padding[:] = [type(column[0])()] * len(padding)
    else:
        padding = np.zeros(shape, column.dtype)
    return np.concatenate([column[:num_rows], padding])


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _at(path: str) -> str:
    return f"The value of key {path!r}" if path else "The element"


def _different_keys(
    rows: Sequence[Any], path: str, name_row: NameRow
) -> _errors.DataError:
    first = rows[0]
    index, other = next(
        (i, row)
        for i, row in enumerate(rows)
        if not isinstance(row, Mapping) or row.keys() != first.keys()
    )
    where = f" of key {path!r}" if path else ""
    if not isinstance(other, Mapping):
        seen = f"is a {type(other).__name__}"
    else:
        lacks, more = sorted(first.keys() - other), sorted(other.keys() - first)
        parts = [f"lacks {lacks}" if lacks else "", f"has also {more}" if more else ""]
        seen = " and ".join(filter(None, parts))
    return _errors.DataError(
        f"All elements must have the same keys{where}: {name_row(0)} has "
        f"{sorted(first)}, {name_row(index)} {seen}. Drop or add keys with "
        "`kd.data.Elements(keep=...)` or `kd.data.AddConstants`."
    )


def _different(
    column: Sequence[Any],
    path: str,
    name_row: NameRow,
    index: int,
    describe: Callable[[Any], str],
    usual: int = 0,
) -> _errors.DataError:
    if column[index] is None:
        return _no_number(column, path, name_row)
    return _errors.DataError(
        f"{_at(path)} cannot be batched: it is {describe(column[index])} in "
        f"{name_row(index)}, {describe(column[usual])} in {name_row(usual)}. "
        f"{_convert_with(path)}"
    )


def _convert_with(path: str) -> str:
    return (
        f"Give it one dtype with `kd.data.Cast(key={path or '...'!r}, dtype=...)`, or a "
        "function of your own."
    )


def _different_shapes(
    usual: tuple[int, ...],
    other: tuple[int, ...],
    path: str,
    name_row: NameRow,
    index: int,
) -> _errors.DataError:
    tool = "`kd.data.PadOrTruncateTokens` or `kd.data.PadToShape`"
    if max(len(usual), len(other)) > 1:
        tool = "`kd.data.Resize`, `kd.data.CenterCrop` or `kd.data.PadToShape`"
    return _errors.DataError(
        f"{_at(path)} cannot be batched: its shape differs between elements: {usual} in "
        f"{name_row(0)}, {other} in {name_row(index)}. Make them equal with {tool}."
    )


def _no_number(
    column: Sequence[Any], path: str, name_row: NameRow
) -> _errors.DataError:
    """Returns what is wrong with the first value that is not an array of numbers."""
    drop = "Drop it with `kd.data.Elements(drop=[...])`, or convert it."
    for index, value in enumerate(column):
        where = f"{_at(path)} in {name_row(index)}"
        if value is None:
            return _errors.DataError(
                f"{where} is None, which cannot be batched. {drop}"
            )
        try:
            array = _as_array(value)
        except OverflowError:
            return _too_large(where, value, path)
        except ValueError:
            return _errors.DataError(f"{where} is a ragged list: {value!r:.60}. {drop}")
        if array.dtype.kind != "O":
            continue
        if isinstance(value, int):
            return _too_large(where, value, path)
        return _errors.DataError(
            f"{where} is no array of numbers, but a {type(value).__name__}: "
            f"{value!r:.60}. {drop}"
        )
    raise AssertionError("Some value is no number.")


def _too_large(where: str, value: object, path: str) -> _errors.DataError:
    return _errors.DataError(
        f"{where} does not fit into 64 bits: {value!r:.60}. Leave it a text, or "
        f"convert it with `kd.data.Cast(key={path or '...'!r}, dtype='float64')`."
    )


def _structure(value: object) -> str:
    is_tuple = isinstance(value, tuple)
    return f"a tuple of {len(value)}" if is_tuple else f"a {type(value).__name__}"


def _dtype_name(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value!r:.40}"
    if isinstance(value, bytes):
        return "bytes"
    dtype = np.asarray(value).dtype
    return f"{value!r} ({dtype})" if np.ndim(value) == 0 else str(dtype)
