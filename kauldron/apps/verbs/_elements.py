"""Elements of a pipeline, read from the files of cases."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from kauldron import data
from kauldron._base import errors
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.ports import Port

# The key of the name of a case, which transforms let through.
CASE_KEY = "file"
_CASE_COLUMNS = ("case", "file", "name", "id")


@dataclasses.dataclass(frozen=True)
class CaseElements:
    """Elements `{name of an input: array, "file": name of the case}`; random access.

    Attributes:
      cases: Name of a case -> name of an input -> file.
      ports: What the inputs are.
      num_channels: Name of an image -> how many channels it is read with.
      contents: File -> its bytes, if it is in memory.
    """

    cases: Mapping[str, Mapping[str, str]]
    ports: Sequence[Port]
    num_channels: Mapping[str, int | None]
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cases)

    def keys(self) -> list[str]:
        """Returns the keys that all elements have."""
        _, files = self._listed[0]
        return [CASE_KEY, *(port.name for port in self.ports if port.name in files)]

    def __getitem__(self, index: int) -> dict[str, Any]:
        case, files = self._listed[index]
        element: dict[str, Any] = {CASE_KEY: case}
        for port in self.ports:
            if port.name in files:
                element[port.name] = self._read(port, files[port.name], case)
        return element

    @functools.cached_property
    def _listed(self) -> list[tuple[str, Mapping[str, str]]]:
        return list(self.cases.items())

    def _table(self, path: str, port: Port) -> Mapping[str, np.ndarray]:
        if path not in self._tables:
            self._tables[path] = read_table(path, port, self.contents.get(path))
        return self._tables[path]

    @functools.cached_property
    def _tables(self) -> dict[str, Mapping[str, np.ndarray]]:
        return {}

    def _read(self, port: Port, path: str, case: str) -> np.ndarray:
        if port.kind == "table":
            return _row(self._table(path, port), case, path)
        content = self.contents.get(path)
        file = path if content is None else io.BytesIO(content)
        if path.lower().endswith((".npy", ".npz")):
            return _read_array(file, path, port.name)
        if port.kind == "image":
            return _read_image(file, path, self.num_channels.get(port.name))
        raise AppError(f"{path!r} cannot be read for {port.name!r}, a {port.kind}.")


def _read_image(
    file: str | BinaryIO, path: str, num_channels: int | None
) -> np.ndarray:
    """Returns the pixels of a file; what is wrong with it is told without its folder."""
    from PIL import UnidentifiedImageError

    try:
        return data.read_image(file, num_channels=num_channels)
    except data.BadRecordError as e:
        name, cause = os.path.basename(path), e.__cause__
        is_other = cause is None or isinstance(cause, UnidentifiedImageError)
        why = "" if is_other else f": {str(cause).replace(path, name).rstrip('.')}"
        raise AppError(f"{name!r} is no image that can be read{why}.") from e


def _read_array(file: str | BinaryIO, path: str, name: str) -> np.ndarray:
    """Returns the array of a file; of several in it, the one of a name."""
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            names = found.files
            if name not in names and len(names) != 1:
                raise AppError(
                    f"The file {os.path.basename(path)!r} holds {names}, and no {name!r}."
                    f"{errors.did_you_mean(name, names)}"
                )
            return found[name if name in names else names[0]]
    except AppError:
        raise
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError) as e:
        raise AppError(
            f"The file {os.path.basename(path)!r} is no array of NumPy: "
            f"{str(e).rstrip('.')}."
        ) from e


def read_table(
    path: str, port: Port, content: bytes | None = None
) -> dict[str, np.ndarray]:
    """Returns name of a case -> value, of a table for all cases.

    It is a `.csv` with the columns `case` and that of the port, or a `.json` object.

    Raises:
      AppError: If it cannot be read, or lacks a column.
    """
    name = os.path.basename(path)
    try:
        data = pathlib.Path(path).read_bytes() if content is None else content
        text = data.decode("utf-8")
        if path.lower().endswith(".csv"):
            rows = _csv_rows(text, name, port)
        else:
            found = json.loads(text)
            if not isinstance(found, Mapping):
                raise AppError(
                    f"The table {name!r} must be an object, `{{'case': value}}`: got "
                    f"{type(found).__name__}."
                )
            rows = {str(key): value for key, value in found.items()}
        return {case: _value(value, port) for case, value in rows.items()}
    except (OSError, ValueError, csv.Error) as e:
        if isinstance(e, AppError):
            raise
        raise AppError(f"The table {name!r} cannot be read: {e}.") from e


def _csv_rows(text: str, name: str, port: Port) -> dict[str, str]:
    reader = csv.DictReader(text.splitlines())
    columns = list(reader.fieldnames or ())
    case_column = next((c for c in _CASE_COLUMNS if c in columns), None)
    if case_column is None or port.name not in columns:
        raise AppError(
            f"The table {name!r} needs the columns 'case' and {port.name!r}: it has "
            f"{columns}."
        )
    return {row[case_column]: row[port.name] for row in reader}


def _value(value: Any, port: Port) -> np.ndarray:
    if isinstance(value, str):
        numbers = {label.name: number for number, label in port.labels.items()}
        if value in numbers:
            return np.asarray(numbers[value])
        try:
            value = int(value)
        except ValueError:
            value = float(value)
    return np.asarray(value)


def _row(table: Mapping[str, np.ndarray], case: str, path: str) -> np.ndarray:
    for name in (case, *_with_suffixes(case, table)):
        if name in table:
            return table[name]
    raise AppError(
        f"The table {os.path.basename(path)!r} has no row for the case {case!r}."
        f"{errors.did_you_mean(case, table)}"
    )


def _with_suffixes(case: str, table: Mapping[str, Any]) -> list[str]:
    """Returns the names of a table that are a case with the suffix of its file."""
    return [name for name in table if pathlib.PurePath(name).stem == case]
