"""Tables in files: read as columns, written in another format.

A table is `{column: values}`, the first axis of every column counts rows. Whatever the
format, numbers and texts are the same: a missing number is NaN, a missing text `None`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from etils import epath

from kauldron._base import errors, extras
from kauldron.data import _errors, column_files
from kauldron.data.py import _files, _npz

Columns: TypeAlias = Mapping[str, np.ndarray]

FORMATS = {
    ".csv": "CSV",
    ".tsv": "CSV",
    ".parquet": "Parquet",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".npz": "NPZ",
    ".jsonl": "JSONL",
}


def format_of(path: epath.PathLike) -> str:
    """Returns the format of a file, which its suffix tells.

    Raises:
      DataError: If it is none of a table.
    """
    suffix = epath.Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise _errors.DataError(
            f"A table is a file that ends with {', '.join(FORMATS)}: got {str(path)!r}."
            f"{errors.did_you_mean(suffix, FORMATS)}"
        )
    return FORMATS[suffix]


def read_table(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Returns the columns of a CSV, Parquet, HDF5, NPZ or JSONL file.

    Nested groups and objects become columns such as `a.b`.

    Args:
      path: The file; its suffix tells the format.

    Raises:
      DataError: If there is no such file, it is damaged, or its columns are not equally
        long.
    """
    path = epath.Path(path)
    read = _READERS[format_of(path)]
    columns = read(_files.existing(path))
    lengths = {
        name: len(values) if values.ndim else -1 for name, values in columns.items()
    }
    if len(set(lengths.values())) > 1 or -1 in lengths.values():
        raise _errors.DataError(
            f"{path} is no table, as its arrays have no common number of rows: "
            f"{ {name: values.shape for name, values in columns.items()} }."
        )
    return columns


def write_table(
    path: epath.PathLike, columns: Columns, *, overwrite: bool = False
) -> None:
    """Writes columns to a file; it appears when it is complete.

    Args:
      path: The file; its suffix tells the format.
      columns: Name -> values, equally many.
      overwrite: Replace a file that is there.

    Raises:
      DataError: If the file is there, or the format cannot hold a column.
    """
    path = epath.Path(path)
    write = _WRITERS[format_of(path)]
    if path.exists() and not overwrite:
        raise _errors.DataError(f"{path} exists: remove it, or say --overwrite.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        write(temporary, columns)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_csv(path: epath.Path) -> dict[str, np.ndarray]:
    columns = _files.Csv(path, delimiter=_delimiter(path), shuffle=False).data_source
    return {name: np.asarray(values) for name, values in columns.items()}


def _read_parquet(path: epath.Path) -> dict[str, np.ndarray]:
    pyarrow = extras.load("pyarrow", needed_by="Parquet", extra="lm")
    try:
        return dict(_files.Parquet(str(path), shuffle=False).data_source)
    except pyarrow.ArrowException as e:
        raise _errors.BadRecordError(
            f"{path} cannot be read as Parquet: {e}."
        ) from None


def _read_npz(path: epath.Path) -> dict[str, np.ndarray]:
    return dict(_npz.load(path))


def _read_hdf5(path: epath.Path) -> dict[str, np.ndarray]:
    h5py = extras.load("h5py", needed_by="HDF5", extra="hdf5")
    columns = {}

    def add(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            is_text = h5py.check_string_dtype(node.dtype) is not None
            values = node.asstr()[()] if is_text else node[()]
            columns[name.replace("/", ".")] = np.asarray(values)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)
    except OSError as e:
        raise _errors.BadRecordError(f"{path} cannot be read as HDF5: {e}.") from None
    return columns


def _read_jsonl(path: epath.Path) -> dict[str, np.ndarray]:
    records = [
        dict(_flat(record, path))
        for record in _files.Json(path, shuffle=False).data_source
    ]
    names = dict.fromkeys(name for record in records for name in record)
    return {name: _to_array([record.get(name) for record in records]) for name in names}


def _flat(record: Any, path: epath.Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(record, Mapping):
        raise _errors.BadRecordError(
            f'{path}: each line of a table is an object, such as {{"a": 1}}: got '
            f"{record!r}."
        )
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, path, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _to_array(values: list[Any]) -> np.ndarray:
    """Returns values of JSON as an array; what has no common shape stays as it is."""
    kinds = {type(value) for value in values}
    if kinds <= {int, float, type(None)} and kinds != {type(None)}:
        if type(None) not in kinds:
            return np.asarray(values)
        return np.asarray([math.nan if value is None else value for value in values])
    if kinds == {list}:
        try:
            array = np.asarray(values)
        except ValueError:  # ragged
            array = np.empty(0, object)
        if array.dtype.kind in "biufU" and len(array) == len(values):
            return array
    if kinds == {bool} or kinds == {str}:
        return np.asarray(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _write_csv(path: epath.Path, columns: Columns) -> None:
    for name, values in columns.items():
        if values.ndim > 1:
            raise _errors.DataError(
                f"A cell of a CSV file holds one value, but {name!r} has rows of shape "
                f"{values.shape[1:]}: write .parquet, .npz, .h5 or .jsonl."
            )
    text = io.StringIO()
    writer = csv.writer(text, delimiter=_delimiter(path), lineterminator="\n")
    writer.writerow(columns)
    cells = [["" if x is None else x for x in _plain(v)] for v in columns.values()]
    writer.writerows(zip(*cells, strict=True))
    path.write_text(text.getvalue())


def _write_jsonl(path: epath.Path, columns: Columns) -> None:
    rows = zip(*(_plain(values) for values in columns.values()), strict=True)
    with path.open("w") as file:
        for number, row in enumerate(rows, start=1):
            record = {
                name: None if isinstance(x, float) and math.isnan(x) else x
                for name, x in zip(columns, row, strict=True)
            }
            try:
                file.write(f"{json.dumps(record, allow_nan=False)}\n")
            except ValueError:
                raise _errors.DataError(
                    f"JSON has no infinities, and no NaN in arrays, but row {number} has: "
                    "write .parquet, .npz or .h5."
                ) from None


def _write_npz(path: epath.Path, columns: Columns) -> None:
    fixed = {name: _fixed(name, values) for name, values in columns.items()}
    with path.open("wb") as file:
        column_files.write_npz(file, fixed)


def _write_hdf5(path: epath.Path, columns: Columns) -> None:
    h5py = extras.load("h5py", needed_by="HDF5", extra="hdf5")
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            values = _fixed(name, values)
            if values.dtype.kind == "M":
                values = values.astype(str)
            if values.dtype.kind == "U":
                values = values.astype(h5py.string_dtype())
            file.create_dataset(name.replace(".", "/"), data=values)


def _write_parquet(path: epath.Path, columns: Columns) -> None:
    with path.open("wb") as file:
        column_files.write_parquet(file, columns)


def _plain(values: np.ndarray) -> list[Any]:
    """Returns values as Python's own; times as texts."""
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    return (values.astype(str) if values.dtype.kind == "M" else values).tolist()


def _fixed(name: str, values: np.ndarray) -> np.ndarray:
    """Returns values without Python objects, which NPZ and HDF5 files do not hold."""
    if values.dtype != object:
        return values
    kinds = {type(value) for value in values.ravel().tolist()}
    if kinds <= {str}:
        return values.astype(str)
    if kinds <= {bytes}:
        return values.astype(bytes)
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise _errors.DataError(
        f"{name!r} has values of several kinds ({found}), or of several lengths, which "
        ".npz and .h5 files cannot hold: write .parquet or .jsonl."
    )


def _delimiter(path: epath.Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


_READERS: dict[str, Callable[[epath.Path], dict[str, np.ndarray]]] = {
    "CSV": _read_csv,
    "Parquet": _read_parquet,
    "HDF5": _read_hdf5,
    "NPZ": _read_npz,
    "JSONL": _read_jsonl,
}
_WRITERS: dict[str, Callable[[epath.Path, Columns], None]] = {
    "CSV": _write_csv,
    "Parquet": _write_parquet,
    "HDF5": _write_hdf5,
    "NPZ": _write_npz,
    "JSONL": _write_jsonl,
}
