"""Parsing of text files: encodings, records, columns, and numbers of one dtype."""

from __future__ import annotations

import collections
import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors

if TYPE_CHECKING:
    import numpy.typing as npt
    from etils import epath


_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf|infinity)",
    re.IGNORECASE,
)
_BOOLS = {"true": True, "false": False, "1": True, "0": False}
_INT64 = range(-(2**63), 2**63)


def read(path: epath.Path) -> str:
    """Returns the characters of a UTF-8 file, without a byte order mark.

    Raises:
      BadRecordError: If it is not UTF-8; says which line.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _errors.BadRecordError(
            f"{path}, line {line} is no UTF-8: {error.reason} at byte {error.start}. "
            "Save the file as UTF-8."
        ) from None


def with_common_numbers(records: Sequence[Any]) -> list[Any]:
    """Returns records in which a key that has ints and floats has floats only.

    Raises:
      DataError: If float64 does not hold such an int exactly.
    """
    types: dict[tuple[str, ...], set[type]] = collections.defaultdict(set)
    for record in records:
        _collect_types(record, (), types)
    mixed = {path for path, seen in types.items() if {int, float} <= seen}
    if not mixed:
        return list(records)
    return [
        _with_floats(record, (), mixed, f"example {i}")
        for i, record in enumerate(records)
    ]


def read_csv(
    path: epath.Path, *, delimiter: str, dtypes: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the columns of a CSV file, see `kd.data.py.Csv`."""
    rows = csv.reader(
        io.StringIO(read(path), newline=""), delimiter=delimiter, strict=True
    )
    lines: list[int] = []  # where each row ends
    fields: list[list[str]] = []
    try:
        header = next(rows, [])
        _check_header(header, path, dtypes)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise _errors.BadRecordError(
                    f"{path}, line {rows.line_num} has {len(row)} fields, the header has "
                    f"{len(header)}: {row!r:.100}."
                )
            lines.append(rows.line_num)
            fields.append(row)
    except csv.Error as error:
        raise _errors.BadRecordError(
            f"{path}, line {rows.line_num} is no CSV: {error}."
        ) from None
    columns: dict[str, Any] = {}
    for name, texts in zip(header, zip(*fields, strict=True), strict=False):
        if name in dtypes:
            columns[name] = _converted(name, texts, dtypes[name], path, lines)
        else:
            columns[name] = _guessed(name, texts, path, lines)
    return columns if fields else {name: np.zeros(0) for name in header}


def _check_header(
    header: list[str], path: epath.Path, dtypes: Mapping[str, Any]
) -> None:
    if not header:
        raise _errors.DataError(f"{path} is empty: its first line names the columns.")
    twice = [name for name, n in collections.Counter(header).items() if n > 1]
    if twice:
        raise _errors.DataError(f"{path} has two columns of one name: {twice}.")
    for name in dtypes:
        if name not in header:
            raise _errors.missing_key(f"Csv({path}).dtypes", name, header)


def _guessed(
    name: str, texts: Sequence[str], path: epath.Path, lines: list[int]
) -> Any:
    if all(map(_WHOLE.fullmatch, texts)):
        values = [int(text) for text in texts]
        for value, line in zip(values, lines, strict=True):
            if value not in _INT64:
                raise _errors.BadRecordError(
                    f"{path}, line {line}: {name!r} is {value}, which does not fit into "
                    f"64 bits. Say what it is: `dtypes={{{name!r}: str}}` or 'float64'."
                )
        return np.array(values, np.int64)
    if all(map(_NUMBER.fullmatch, texts)):
        return np.array([float(text) for text in texts])
    return _texts(texts)


def _converted(
    name: str,
    texts: Sequence[str],
    dtype: npt.DTypeLike,
    path: epath.Path,
    lines: list[int],
) -> Any:
    from kauldron.data.transforms import values

    if dtype in (str, "str"):
        return _texts(texts)
    wanted = values.as_dtype(dtype)
    found = np.empty(len(texts), wanted)
    for i, (text, line) in enumerate(zip(texts, lines, strict=True)):
        value = _parse_as(text, wanted)
        if value is None:
            raise _errors.BadRecordError(
                f"{path}, line {line}: {name!r} is {text!r:.60}, which is no {wanted}."
            )
        found[i] = value
    return found


def _parse_as(text: str, dtype: np.dtype) -> Any:
    """Returns the value of a field; `None` if the dtype cannot hold it."""
    if dtype.kind == "b":
        return _BOOLS.get(text.lower())
    if dtype.kind in "iu":
        value = int(text) if _WHOLE.fullmatch(text) else None
        bounds = np.iinfo(dtype)
        fits = value is not None and bounds.min <= value <= bounds.max
        return value if fits else None
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    with np.errstate(over="ignore"):
        overflows = (
            np.isinf(np.float64(number).astype(dtype)) and "n" not in text.lower()
        )
    return None if overflows else number


def _texts(texts: Sequence[str]) -> np.ndarray:
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def _collect_types(
    value: object, path: tuple[str, ...], types: dict[tuple[str, ...], set[type]]
) -> None:
    if type(value) is dict:
        for key, child in value.items():
            _collect_types(child, (*path, key), types)
    elif type(value) is list:
        inner, of_items = (*path, "[]"), set(map(type, value))
        types[inner] |= of_items
        if list in of_items or dict in of_items:
            for child in value:
                _collect_types(child, inner, types)
    else:
        types[path].add(type(value))


def _with_floats(
    value: object, path: tuple[str, ...], mixed: set[tuple[str, ...]], where: str
) -> Any:
    if type(value) is dict:
        return {
            key: _with_floats(child, (*path, key), mixed, where)
            for key, child in value.items()
        }
    if type(value) is list:
        inner = (*path, "[]")
        return [_with_floats(child, inner, mixed, where) for child in value]
    if type(value) is not int or path not in mixed:
        return value
    if abs(value) > 2**53 and int(float(value)) != value:
        raise _errors.DataError(
            f"The value of key {'.'.join(path)!r} is {value} in {where}, and a float "
            "elsewhere: float64 does not hold it exactly. Write it as a text, or as a "
            "float."
        )
    return float(value)
