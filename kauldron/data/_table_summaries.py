"""What tables hold: a line per column of a file, and a line per file of a folder."""

from __future__ import annotations

import collections
import dataclasses
import math
import os
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import errors, text_tables
from kauldron.data import _errors, _tables

_NUM_FREQUENT = 3
_MAX_TEXT = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """What a column holds.

    Attributes:
      name: Its name.
      dtype: Of its values, such as `int64`, or `text`.
      shape: Of a row; empty of a single value.
      num_missing: Rows with NaN or nothing.
      num_distinct: How many different values there are; `None` of arrays.
      low: Smallest number.
      mean: Mean of the numbers.
      std: Their standard deviation.
      high: Largest number.
      frequent: The most frequent texts, and how often each is there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    num_missing: int = 0
    num_distinct: int | None = None
    low: float | None = None
    mean: float | None = None
    std: float | None = None
    high: float | None = None
    frequent: tuple[tuple[str, int], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableSummary:
    """What a table holds; `print` shows a line per column.

    Attributes:
      path: The file.
      format: `CSV`, `Parquet`, `HDF5`, `NPZ`, `JSONL`.
      num_rows: How many rows.
      num_bytes: Of the file.
      columns: What each column holds.
    """

    path: str
    format: str
    num_rows: int
    num_bytes: int
    columns: tuple[ColumnSummary, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return dataclasses.asdict(self)

    @property
    def headline(self) -> str:
        """The file in a line."""
        size = text_tables.format_bytes(self.num_bytes)
        return (
            f"{self.path}: {self.format}, {self.num_rows:,} rows, "
            f"{len(self.columns)} columns, {size}"
        )

    def __str__(self) -> str:
        names = ("column", "dtype", "shape", "missing", "distinct")
        rows = [[*names, "min", "mean", "std", "max", "most frequent"]]
        rows += [_line(column) for column in self.columns]
        return f"{self.headline}\n\n{text_tables.aligned(rows, right=range(3, 9))}"


def inspect_table(path: epath.PathLike) -> TableSummary:
    """Returns what a CSV, Parquet, HDF5, NPZ or JSONL file holds.

    Args:
      path: The file.

    Raises:
      DataError: If it is no table.
    """
    columns = _tables.read_table(path)
    return TableSummary(
        path=os.fspath(path),
        format=_tables.format_of(path),
        num_rows=len(next(iter(columns.values()))) if columns else 0,
        num_bytes=epath.Path(path).stat().length,
        columns=tuple(_summarise(name, values) for name, values in columns.items()),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderSummary:
    """What a folder holds; `print` shows a line per table.

    Attributes:
      path: The folder.
      tables: Each table that can be read, without what its columns hold.
      problems: Path -> why a table cannot be read.
      others: Suffix -> number and bytes of the other files.
    """

    path: str
    tables: tuple[TableSummary, ...]
    problems: dict[str, str]
    others: dict[str, tuple[int, int]]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "path": self.path,
            "tables": [
                {
                    "path": table.path,
                    "format": table.format,
                    "num_rows": table.num_rows,
                    "num_bytes": table.num_bytes,
                    "columns": [column.name for column in table.columns],
                }
                for table in self.tables
            ],
            "problems": self.problems,
            "others": {
                suffix: {"num_files": count, "num_bytes": size}
                for suffix, (count, size) in self.others.items()
            },
        }

    def __str__(self) -> str:
        rows = [["file", "format", "rows", "columns", "size"]]
        rows += [
            [
                os.path.relpath(table.path, self.path),
                table.format,
                f"{table.num_rows:,}",
                f"{len(table.columns)}",
                text_tables.format_bytes(table.num_bytes),
            ]
            for table in self.tables
        ]
        parts = [text_tables.aligned(rows, right=(2, 3, 4))] if self.tables else []
        parts += [f"{path}: {problem}" for path, problem in self.problems.items()]
        for suffix, (count, size) in self.others.items():
            files = f"{count:,} other files {suffix or 'without a suffix'}"
            parts.append(f"{files}, {text_tables.format_bytes(size)}")
        total = sum(table.num_rows for table in self.tables)
        parts.append(f"{self.path}: {len(self.tables)} tables, {total:,} rows")
        return "\n".join(parts)


def summarise_folder(path: epath.PathLike) -> FolderSummary:
    """Returns what a folder, and those in it, hold.

    Args:
      path: The folder.

    Raises:
      DataError: If it does not exist.
    """
    root = epath.Path(path)
    if not root.is_dir():
        raise _errors.DataError(f"There is no folder {os.fspath(path)!r}.")
    tables: list[TableSummary] = []
    problems: dict[str, str] = {}
    others: dict[str, tuple[int, int]] = {}
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            file = os.path.join(folder, name)
            suffix = epath.Path(name).suffix.lower()
            if suffix not in _tables.FORMATS:
                count, size = others.get(suffix, (0, 0))
                others[suffix] = count + 1, size + os.stat(file).st_size
                continue
            try:
                tables.append(_without_values(file))
            except (errors.UserError, OSError) as e:
                problems[os.path.relpath(file, root)] = str(e)
    return FolderSummary(
        path=os.fspath(path), tables=tuple(tables), problems=problems, others=others
    )


def _without_values(file: str) -> TableSummary:
    columns = _tables.read_table(file)
    return TableSummary(
        path=file,
        format=_tables.format_of(file),
        num_rows=len(next(iter(columns.values()))) if columns else 0,
        num_bytes=os.stat(file).st_size,
        columns=tuple(
            ColumnSummary(name=k, dtype=_dtype(v)) for k, v in columns.items()
        ),
    )


def _summarise(name: str, values: np.ndarray) -> ColumnSummary:
    summary = ColumnSummary(name=name, dtype=_dtype(values), shape=values.shape[1:])
    if values.dtype.kind in "biuf":
        return _of_numbers(summary, values)
    if values.ndim > 1:
        return summary
    known = [x for x in values.tolist() if x is not None and x not in ("", b"")]
    counts = collections.Counter(map(_text, known))
    return dataclasses.replace(
        summary,
        num_missing=len(values) - len(known),
        num_distinct=len(counts),
        frequent=tuple(counts.most_common(_NUM_FREQUENT)),
    )


def _of_numbers(summary: ColumnSummary, values: np.ndarray) -> ColumnSummary:
    is_known = (
        ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    )
    missing = (
        ~is_known.reshape(len(values), -1).all(axis=-1) if len(values) else is_known
    )
    known = values[is_known]
    summary = dataclasses.replace(summary, num_missing=int(missing.sum()))
    if values.ndim == 1:
        summary = dataclasses.replace(summary, num_distinct=len(np.unique(known)))
    if not known.size:
        return summary
    # Not in the dtype of the column: bytes overflow, and bf16 has few digits.
    return dataclasses.replace(
        summary,
        low=float(known.min()),
        mean=float(known.mean(dtype=np.float64)),
        std=float(known.std(dtype=np.float64)),
        high=float(known.max()),
    )


def _dtype(values: np.ndarray) -> str:
    if values.dtype.kind in "US":
        return "text"
    if values.dtype == object:
        kinds = {type(value).__name__ for value in values.ravel().tolist()} - {
            "NoneType"
        }
        return "text" if kinds == {"str"} else "/".join(sorted(kinds)) or "nothing"
    return str(values.dtype)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _line(column: ColumnSummary) -> list[str]:
    def show(value: float | None) -> str:
        if value is None:
            return ""
        is_whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
        return f"{int(value)}" if is_whole else f"{value:.4g}"

    frequent = ", ".join(
        f"{text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + '…'} ({count:,})"
        for text, count in column.frequent
    )
    return [
        column.name,
        column.dtype,
        " ".join(map(str, column.shape)) or "-",
        f"{column.num_missing:,}",
        "-" if column.num_distinct is None else f"{column.num_distinct:,}",
        *map(show, (column.low, column.mean, column.std, column.high)),
        frequent,
    ]
