"""Sources of texts: JSON lines, plain text folders, HDF5. Read when needed, not held."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron._base import errors
from kauldron.data.py import base
from kauldron.lm.text import _packages

_BLOCK = 2**24


@dataclasses.dataclass(frozen=True)
class JsonLines(base.DataSourceBase):
    """Objects of `.jsonl` files, one a line, parsed when they are needed.

    Only the beginnings of lines are in memory, 16 bytes each. `kd.data.py.Json` holds
    everything, and makes numbers of one kind: use it for tables.

    Attributes:
      path: A file, a pattern such as `'data/*.jsonl'`, or several.
      keys: Which fields an element has; all by default.

    Raises:
      BadRecordError: If a line is no JSON object; names file and line.
      DataKeyError: If a line lacks one of the keys.
      DataError: If there is no such file.

    Example:

    ```python
    ds = kd.lm.JsonLines("dialogs.jsonl", keys=["messages"], shuffle=True, batch_size=8)
    ```
    """

    path: Any
    keys: Sequence[str] | None = dataclasses.field(default=None, kw_only=True)

    @functools.cached_property
    def data_source(self) -> Any:
        return _Lines(find_files(self.path), self.keys)


@dataclasses.dataclass(frozen=True)
class TextFolder(base.DataSourceBase):
    """Plain text files, UTF-8; elements are `{"text": str}`.

    Attributes:
      path: A folder, a file, a pattern, or several.
      pattern: Which files of a folder.
      separator: What stands between documents of a file, such as a blank line,
        `'\\n\\n'`; a file is one document by default. Blank documents are left out.

    Raises:
      BadRecordError: If a file is not UTF-8; names it.
      DataError: If there is no such file, or no text in any.
    """

    path: Any
    pattern: str = dataclasses.field(default="**/*.txt", kw_only=True)
    separator: str | None = dataclasses.field(default=None, kw_only=True)

    @functools.cached_property
    def data_source(self) -> Any:
        if self.separator == "":
            raise data.DataError(
                "TextFolder: `separator` is empty. `None` splits nothing."
            )
        return _Texts(find_files(self.path, self.pattern), self.separator)


@dataclasses.dataclass(frozen=True)
class Hdf5(base.DataSourceBase):
    """Rows of the datasets of an HDF5 file, read when they are needed.

    Datasets of variable length give arrays of their lengths; texts are `str`. Needs the
    extra `kauldron[lm]`.

    Attributes:
      path: The file.
      keys: Key of the element -> dataset of the file, or their names; all datasets at the
        top by default.

    Raises:
      DataError: If there is no such file, it is no HDF5, or lengths differ.
      DataKeyError: If there is no such dataset.
    """

    path: Any
    keys: Mapping[str, str] | Sequence[str] | None = dataclasses.field(
        default=None, kw_only=True
    )

    @functools.cached_property
    def data_source(self) -> Any:
        (file,) = find_files(self.path)
        keys = self.keys
        if keys is not None and not isinstance(keys, Mapping):
            keys = {key: key for key in keys}
        return _Hdf5Rows(file, keys)


@dataclasses.dataclass
class _Lines:
    files: list[str]
    keys: Sequence[str] | None

    @functools.cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """File, line number, and first byte of each line that is not empty."""
        found = [(*_line_starts(file), i) for i, file in enumerate(self.files)]
        starts = np.concatenate([starts for starts, _, _ in found])
        numbers = np.concatenate([numbers for _, numbers, _ in found])
        files = np.repeat(
            np.arange(len(found)), [len(starts) for starts, _, _ in found]
        )
        return files, numbers, starts

    def __len__(self) -> int:
        return len(self._index[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        files, numbers, starts = self._index
        file = self.files[files[index]]
        with open(file, "rb") as stream:
            stream.seek(starts[index])
            line = stream.readline()
        where = f"{file}, line {numbers[index]}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise data.BadRecordError(f"{where} is no JSON: {error}.") from None
        if not isinstance(record, dict):
            raise data.BadRecordError(
                f"{where} must hold a JSON object: got a {type(record).__name__}."
            )
        if self.keys is None:
            return record
        for key in self.keys:
            if key not in record:
                raise data.DataKeyError(
                    f"{where} has no {key!r}.{errors.did_you_mean(key, record)} It has "
                    f"{sorted(record)}."
                )
        return {key: record[key] for key in self.keys}

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "keys": self.keys}

    def __repr__(self) -> str:
        return f"lines of {_names(self.files)}"


@dataclasses.dataclass
class _Texts:
    files: list[str]
    separator: str | None

    @functools.cached_property
    def _index(self) -> np.ndarray:
        """File, first byte, and end of each document, `i64[n 3]`."""
        rows = []
        for number, file in enumerate(self.files):
            content = pathlib.Path(file).read_bytes()
            rows += [(number, *span) for span in _documents_in(content, self.separator)]
        return np.array(rows, np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> dict[str, str]:
        number, start, end = self._index[index].tolist()
        file = self.files[number]
        with open(file, "rb") as stream:
            stream.seek(start)
            content = stream.read(end - start)
        try:
            return {"text": content.decode("utf-8-sig" if not start else "utf-8")}
        except UnicodeDecodeError as error:
            raise data.BadRecordError(
                f"{file} is not UTF-8, at byte {start + error.start}: {error.reason}."
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "separator": self.separator}

    def __repr__(self) -> str:
        return f"texts of {_names(self.files)}"


@dataclasses.dataclass
class _Hdf5Rows:
    file: str
    keys: Mapping[str, str] | None

    @functools.cached_property
    def _datasets(self) -> dict[str, Any]:
        h5py = _packages.load("h5py", "`kd.lm.Hdf5`")
        try:
            opened = h5py.File(self.file, "r")
        except OSError as error:
            raise data.DataError(
                f"{self.file} cannot be read as HDF5: {error}."
            ) from None
        names = [name for name in opened if isinstance(opened[name], h5py.Dataset)]
        found = {}
        for key, name in (self.keys or {name: name for name in names}).items():
            if not isinstance(opened.get(name), h5py.Dataset):
                raise data.DataKeyError(
                    f"{self.file} has no dataset {name!r}."
                    f"{errors.did_you_mean(name, names)} It has {names}."
                )
            is_text = h5py.check_string_dtype(opened[name].dtype) is not None
            found[key] = opened[name].asstr() if is_text else opened[name]
        lengths = {key: len(dataset) for key, dataset in found.items()}
        if len(set(lengths.values())) != 1:
            raise data.DataError(
                f"The datasets of {self.file} must have equally many rows: got {lengths}."
            )
        return found

    def __len__(self) -> int:
        return len(next(iter(self._datasets.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= len(self):  # h5py raises `ValueError`
            raise IndexError(index)
        return {key: dataset[index] for key, dataset in self._datasets.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "keys": self.keys}

    def __repr__(self) -> str:
        return self.file


def find_files(path: Any, pattern: str = "*") -> list[str]:
    """Returns the files that a path, a pattern, a folder, or several of them name.

    Raises:
      DataError: If there is none.
    """
    found: list[str] = []
    for item in path if isinstance(path, list | tuple) else [path]:
        one = pathlib.Path(item)
        if one.is_dir():
            matches, what = one.glob(pattern), str(one)
        elif "*" in one.name or "?" in one.name:
            matches = one.parent.glob(one.name)
            what = str(one)
        else:
            matches, what = [one], str(one)
        files = sorted(str(file) for file in matches if file.is_file())
        if not files and one.is_dir():
            raise data.DataError(f"The folder {one} has no file {pattern!r}.")
        if not files:
            there = (
                [p.name for p in one.parent.iterdir()] if one.parent.is_dir() else []
            )
            raise data.DataError(
                f"There is no file {what}.{errors.did_you_mean(one.name, there)}"
            )
        found += files
    return found


def _line_starts(file: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns where lines that are not empty begin, and their numbers, `i64[n]`."""
    size = pathlib.Path(file).stat().st_size
    if not size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    content = np.memmap(file, np.uint8, mode="r")
    ends = [
        np.flatnonzero(content[first : first + _BLOCK] == ord("\n")) + first
        for first in range(0, size, _BLOCK)
    ]
    starts = np.concatenate([[0], *(found + 1 for found in ends)]).astype(np.int64)
    lengths = np.diff(np.append(starts, size + 1)) - 1
    is_empty = lengths <= 0
    short = np.flatnonzero((lengths > 0) & (lengths <= 8))
    for line in short:  # "\r", spaces
        text = bytes(content[starts[line] : starts[line] + lengths[line]])
        is_empty[line] = not text.strip()
    kept = np.flatnonzero(~is_empty)
    return starts[kept], kept + 1


def _documents_in(content: bytes, separator: str | None) -> list[tuple[int, int]]:
    """Returns first byte and end of each document that is not blank."""
    if separator is None:
        spans = [(0, len(content))]
    else:
        mark, spans, start = separator.encode(), [], 0
        while (end := content.find(mark, start)) >= 0:
            spans.append((start, end))
            start = end + len(mark)
        spans.append((start, len(content)))
    return [(start, end) for start, end in spans if content[start:end].strip()]


def _names(files: Sequence[str]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0]}{more}"
