"""File-based pipelines: JSON, CSV, NumPy, ArrayRecord, Parquet."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import errors
from kauldron.data import _errors, _nodes, _readers
from kauldron.data.py import _npz, _text_files, base


@dataclasses.dataclass(frozen=True)
class Json(base.DataSourceBase):
    """Elements of a JSON list, or the lines of a `.jsonl` file, held in memory.

    Files are UTF-8, with or without a byte order mark. A line ends with "\\n" or
    "\\r\\n" and with nothing else; empty ones are left out. `true` becomes bool, whole
    numbers int64, others float64; a key that has both somewhere in the file is float64
    everywhere.

    Attributes:
      path: The file.

    Raises:
      BadRecordError: If it is not JSON, or not a list; says where.
      DataError: If a key has both, and a whole number that float64 does not hold exactly.
    """

    path: Any

    @functools.cached_property
    def data_source(self) -> list[Any]:
        path = existing(self.path)
        text = _text_files.read(path)
        if path.suffix == ".jsonl":
            # Not `splitlines()`: it splits at characters that may stand in strings.
            lines = enumerate(text.split("\n"), start=1)
            return _text_files.with_common_numbers(
                [
                    _parse(line, f"{path}, line {number}")
                    for number, line in lines
                    if line.strip(" \t\r")
                ]
            )
        records = _parse(text, str(path))
        if not isinstance(records, list):
            raise _errors.BadRecordError(
                f"{path} must hold a JSON list of elements: got a "
                f"{type(records).__name__}. One object per line goes in a `.jsonl` file."
            )
        return _text_files.with_common_numbers(records)


@dataclasses.dataclass(frozen=True)
class Csv(base.DataSourceBase):
    """Rows of a CSV file with a header, held in memory column by column.

    Files are UTF-8, with or without a byte order mark; fields may be quoted, and then
    hold line ends and delimiters (RFC 4180). A column of whole numbers becomes int64, one
    of numbers float64, any other texts. Nothing is trimmed or left out: an empty field
    makes a column texts, and a space too. Empty lines are left out.

    Attributes:
      path: The file.
      delimiter: What stands between fields.
      dtypes: Column -> NumPy dtype, or `str`, for columns that are not to be guessed.

    Raises:
      BadRecordError: If a row has more or fewer fields than the header, or a field does
        not fit `dtypes`; names line and column.
      DataError: If there is no header, or it has a name twice.

    Example:

    ```python
    ds = kd.data.py.Csv("houses.csv", dtypes={"zip": str}, shuffle=True, batch_size=64)
    ```
    """

    path: Any
    delimiter: str = dataclasses.field(default=",", kw_only=True)
    dtypes: Mapping[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)

    @functools.cached_property
    def data_source(self) -> dict[str, Any]:
        return _text_files.read_csv(
            existing(self.path), delimiter=self.delimiter, dtypes=self.dtypes
        )


@dataclasses.dataclass(frozen=True)
class NumpyArrays(base.DataSourceBase):
    """Arrays in NumPy files; the first axis counts examples.

    `.npy` files and uncompressed `.npz` files are mapped into memory: only what is read
    is loaded. Compressed ones are loaded whole.

    Attributes:
      path: A `.npz` file (its names are the keys), or a folder of `.npy` files (file
        names without the suffix are the keys).

    Raises:
      DataError: If there is no such file, or the arrays have unequal lengths.
    """

    path: Any

    @functools.cached_property
    def data_source(self) -> Any:
        existing(self.path)
        return _NumpyFiles(str(self.path))


@dataclasses.dataclass(frozen=True)
class ArrayRecord(base.DataSourceBase):
    """Records of ArrayRecord files, as `bytes`: a transform decodes them.

    Attributes:
      path: A file, a pattern such as `'data/train-*.array_record'`, or several.

    Raises:
      DataError: If no file is found.
    """

    path: Any

    @functools.cached_property
    def data_source(self) -> Any:
        return _ArrayRecords(find_files(self.path))


@dataclasses.dataclass(frozen=True)
class Parquet(base.DataSourceBase):
    """Rows of Parquet files, held in memory column by column.

    Attributes:
      path: A file, a pattern such as `'data/*.parquet'`, or several.
      columns: Which columns to read; all by default.

    Raises:
      DataError: If there is no such file or column.
    """

    path: Any
    columns: Sequence[str] | None = dataclasses.field(default=None, kw_only=True)

    @functools.cached_property
    def data_source(self) -> dict[str, np.ndarray]:
        import pyarrow.parquet

        files = find_files(self.path)
        names = pyarrow.parquet.read_schema(files[0]).names
        for column in self.columns or ():
            if column not in names:
                raise _errors.missing_key(f"Parquet({files[0]})", column, names)
        tables = [
            pyarrow.parquet.read_table(file, columns=self.columns) for file in files
        ]
        table = pyarrow.concat_tables(tables)
        return {name: _column_to_numpy(table[name]) for name in table.column_names}


class _NumpyFiles(_nodes.Reader):
    """Opens the files again in workers, instead of sending arrays there."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, indices: np.ndarray) -> Any:
        return self._reader.read(indices)

    @functools.cached_property
    def _reader(self) -> _readers.ColumnsReader:
        path = epath.Path(self._path)
        if path.is_dir():
            files = sorted(path.glob("*.npy"))
            if not files:
                raise _errors.DataError(f"There are no `.npy` files in {path}.")
            return _readers.ColumnsReader(
                {f.stem: np.load(f, mmap_mode="r") for f in files}
            )
        if path.suffix == ".npy":
            return _readers.ColumnsReader({path.stem: np.load(path, mmap_mode="r")})
        return _readers.ColumnsReader(_npz.load(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path}

    def __repr__(self) -> str:
        return self._path


class _ArrayRecords:
    """Records of several files, one after the other."""

    def __init__(self, files: list[str]) -> None:
        self._files = files

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> bytes:
        file = bisect.bisect_right(self._ends, index)
        first = self._ends[file - 1] if file else 0
        try:
            return self._sources[file][index - first]
        except Exception as error:
            raise _errors.BadRecordError(
                f"Record {index - first} of {self._files[file]} cannot be read: {error}"
            ) from error

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
        by_file: dict[int, list[int]] = {}  # file -> places in the result
        for place, index in enumerate(indices):
            by_file.setdefault(bisect.bisect_right(self._ends, index), []).append(place)
        records: list[Any] = [None] * len(indices)
        for file, places in by_file.items():
            first = self._ends[file - 1] if file else 0
            wanted = [indices[place] - first for place in places]
            found = self._sources[file].__getitems__(wanted)
            for place, record in zip(places, found, strict=True):
                records[place] = record
        return records

    @functools.cached_property
    def _sources(self) -> list[Any]:
        import grain

        return [grain.sources.ArrayRecordDataSource(file) for file in self._files]

    @functools.cached_property
    def _ends(self) -> list[int]:
        return list(itertools.accumulate(len(source) for source in self._sources))

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files}

    def __repr__(self) -> str:
        more = f" and {len(self._files) - 1} more" if len(self._files) > 1 else ""
        return f"{self._files[0]}{more}"


def existing(path: epath.Path) -> epath.Path:
    """Returns a path that exists.

    Raises:
      DataError: If it does not; names what is there.
    """
    path = epath.Path(path)
    if path.exists():
        return path
    folder = path.parent
    if not folder.exists():
        raise _errors.DataError(f"There is no {path}. Nor is there its folder.")
    there = sorted(p.name for p in folder.iterdir())
    more = f", and {len(there) - 10} more" if len(there) > 10 else ""
    listed = ", ".join(map(repr, there[:10])) + more if there else "nothing"
    raise _errors.DataError(
        f"There is no {path}.{errors.did_you_mean(path.name, there)} "
        f"Its folder has {listed}."
    )


def find_files(path: epath.Path) -> list[str]:
    """Returns the files that a path, a pattern, or a list of them names, sorted.

    Raises:
      DataError: If there is none.
    """
    paths = path if isinstance(path, list | tuple) else [path]
    found: list[str] = []
    for item in paths:
        item = epath.Path(item)
        if "*" in item.name or "?" in item.name:
            matches = sorted(str(p) for p in item.parent.glob(item.name))
            if not matches:
                raise _errors.DataError(f"No file matches {item}.")
            found += matches
        else:
            found.append(str(existing(item)))
    return found


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _errors.BadRecordError(f"{where} is no JSON: {error}.") from None


def _column_to_numpy(column: Any) -> np.ndarray:
    import pyarrow

    array = column.combine_chunks()
    shape = [len(array)]
    while pyarrow.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False).reshape(shape)
