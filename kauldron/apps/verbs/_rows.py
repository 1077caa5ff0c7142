"""Rows of a table as inputs: which columns a model needs, and how new ones are read."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import data, runs
from kauldron._base import console, errors, extras
from kauldron.apps.bundles import safe_names
from kauldron.apps.bundles.errors import AppError
from kauldron.evals import file_prediction as files_lib

# The input of an app of rows.
NAME = "rows"
_CASE_COLUMNS = ("case", "file", "name", "id")
_TEXT = "str"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """What a model wants of a table.

    Attributes:
      dtypes: Column -> dtype that the training had; `'str'` for texts.
      required: Those without which nothing can be predicted; others are labels.
      delimiter: What stands between the fields of a CSV file.
      references: Keys of a batch that are compared with predictions.
      numbers: Outputs that are numbers, and not scores of classes.
    """

    dtypes: Mapping[str, str]
    required: tuple[str, ...]
    delimiter: str = ","
    references: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    def file_kind(self) -> files_lib.FileKind:
        """Returns what the table is as an input."""
        columns = ", ".join(self.required)
        return files_lib.FileKind(kind="table", description=f"columns {columns}")

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Columns:
        """Returns what `to_json` was made of."""
        values = {k: x if isinstance(x, str) else tuple(x) for k, x in entry.items()}
        return cls(**{**values, "dtypes": dict(entry["dtypes"])})


def columns_of(ds: Any, inputs: Mapping[str, Sequence[Any]]) -> Columns | None:
    """Returns the columns of the table of a pipeline; `None` if it reads no table.

    Which of them a model needs is found out by leaving them out, one at a time.

    Args:
      ds: The pipeline.
      inputs: Key of a batch that the model reads -> its shape.

    Raises:
      AppError: If its transforms make no input of a row alone.
    """
    if any(len(shape) > 2 for shape in inputs.values()):
        return None
    row = _first_row(ds)
    if row is None or not _is_of_table(row, inputs):
        return None
    made = _made_of(ds.transforms, row)
    missing = [name for name in inputs if name not in made]
    if missing:
        raise AppError(
            f"The input {missing[0]!r} of the model cannot be made of a row of the table "
            f"alone, of the columns {list(row)}: the transforms give {list(made)}. An app "
            "reads one row at a time."
        )
    required = []
    for column in row:
        rest = {name: x for name, x in row.items() if name != column}
        if not rest or not set(inputs) <= set(_made_of(ds.transforms, rest)):
            required.append(column)
    dtypes = {name: _dtype_name(x) for name, x in row.items()}
    delimiter = getattr(ds, "delimiter", ",")
    return Columns(dtypes=dtypes, required=tuple(required), delimiter=delimiter)


def _made_of(transforms: Any, row: Mapping[str, Any]) -> Mapping[str, Any]:
    made = runs.fitting_transforms(transforms, row).element
    return made if isinstance(made, Mapping) else {}


def _first_row(ds: Any) -> dict[str, Any] | None:
    if not isinstance(ds, data.py.DataSourceBase):
        return None
    listed = (
        ds.transforms.values() if isinstance(ds.transforms, Mapping) else ds.transforms
    )
    cuts = [t for t in listed if isinstance(t, data.py.SliceDataset)]
    try:
        row = dataclasses.replace(ds, transforms=cuts, batch_size=None)[0]
    except (OSError, ValueError) as e:
        console.warn(
            f"The data of the run cannot be read, so that its app takes arrays: {e}"
        )
        return None
    return row if isinstance(row, dict) else None


def _is_of_table(row: Mapping[Any, Any], inputs: Iterable[str]) -> bool:
    """Whether it is a row of numbers and texts; lists too, if inputs are made of them."""
    most = 0 if all(name in row for name in inputs) else 1
    are_named = all(isinstance(name, str) for name in row)
    return are_named and all(np.ndim(x) <= most for x in row.values())


def _dtype_name(value: Any) -> str:
    if isinstance(value, str | bytes):
        return _TEXT
    array = np.asarray(value)
    return f"{array.dtype}[{len(array)}]" if array.ndim else str(array.dtype)


def check_references(
    columns: Columns, made: Mapping[str, Any], table: Iterable[str]
) -> None:
    """Raises `AppError` if rows lack what predictions are compared with."""
    missing = [name for name in columns.references if name not in made]
    if missing:
        labels = [name for name in columns.dtypes if name not in columns.required]
        raise AppError(
            f"The table lacks the columns of {missing[0]!r}, with which predictions are "
            f"compared: the training had {labels}, it has {list(table)}."
        )


def read(path: str, columns: Columns) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the columns of a table that the training had, and names of its rows.

    Args:
      path: A `.csv`, `.parquet`, `.json` or `.jsonl`.
      columns: What the training had.

    Raises:
      AppError: If it cannot be read, has no rows, or lacks a column.
    """
    name = pathlib.PurePath(path).name
    try:
        table = _read(path, columns)
    except (OSError, ValueError, KeyError) as e:
        told = str(e.args[0] if isinstance(e, KeyError) else e).replace(path, name)
        told = told.removeprefix(f"{name}, ")
        raise AppError(f"The table {name!r} cannot be read: {told}") from e
    num_rows = max(map(len, table.values()), default=0)
    for column in columns.required:
        if table and column not in table:
            raise AppError(
                f"The table {name!r} lacks the column {column!r}: the app needs "
                f"{list(columns.required)}, it has {list(table)}."
                f"{errors.did_you_mean(column, table)}"
            )
    if not num_rows:
        raise AppError(f"The table {name!r} has no rows.")
    known = {
        k: _as_trained(x, columns.dtypes[k], k, name)
        for k, x in table.items()
        if k in columns.dtypes
    }
    return known, _row_names(table, columns, num_rows)


def _read(path: str, columns: Columns) -> dict[str, np.ndarray]:
    suffix = pathlib.PurePath(path).suffix.lower()
    if suffix == ".parquet":
        extras.load("pyarrow", needed_by="A Parquet table", extra="parquet")
        return data.py.Parquet(path, shuffle=False).data_source
    if suffix == ".csv":
        options = {"delimiter": columns.delimiter, "shuffle": False}
        guessed = data.py.Csv(path, **options).data_source
        dtypes = {k: x for k, x in columns.dtypes.items() if k in guessed}
        return data.py.Csv(path, dtypes=dtypes, **options).data_source
    records = data.py.Json(path, shuffle=False).data_source
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("its records are objects, `{column: value}`.")
    names = dict.fromkeys(name for record in records for name in record)
    for number, record in enumerate(records, 1):
        for name in names:
            if name not in record:
                raise ValueError(f"record {number} lacks {name!r}.")
    return {name: _column([record[name] for record in records]) for name in names}


def _column(values: list[Any]) -> np.ndarray:
    if any(isinstance(value, str) for value in values):
        found = np.empty(len(values), object)
        found[:] = values
        return found
    return np.asarray(values)


def _as_trained(column: np.ndarray, dtype: str, name: str, table: str) -> np.ndarray:
    """Returns a column with the dtype of the training."""
    wanted, _, length = dtype.removesuffix("]").partition("[")
    shape = (int(length),) if length else ()
    is_text = column.dtype == object and all(isinstance(x, str) for x in column)
    if wanted == _TEXT and is_text:
        return column
    is_number = wanted != _TEXT and column.dtype != object
    fits = is_number and column.shape[1:] == shape
    if fits and np.can_cast(column.dtype, wanted, "same_kind"):
        return column.astype(wanted, copy=False)
    seen = "texts" if is_text else f"{column.dtype}{list(column.shape[1:]) or ''}"
    raise AppError(
        f"The column {name!r} of the table {table!r} has {seen}: the training had "
        f"{'texts' if dtype == _TEXT else dtype}."
    )


def _row_names(
    table: Mapping[str, np.ndarray], columns: Columns, num_rows: int
) -> list[str]:
    """Returns what rows are called: by a column such as `id`, else by their numbers."""
    own = next((c for c in _CASE_COLUMNS if c in table and c not in columns.dtypes), "")
    if not own:
        return [f"row_{number}" for number in range(1, num_rows + 1)]
    names = [safe_names.safe_name(str(x)) for x in table[own].tolist()]
    if len(set(names)) < num_rows:
        twice = next(name for name in names if names.count(name) > 1)
        raise AppError(f"Two rows of the table are called {twice!r}, by {own!r}.")
    return names
