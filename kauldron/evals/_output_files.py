"""Files with a row per example: `.npz` or Parquet, in pieces where they are large.

A set of outputs is one file, `name.npz`, or several: `name.part_0_of_3.npz` if it is
large, `name.process_0_of_2.npz` if several processes wrote it. Files are written under
other names and renamed when all are complete; names tell how many there are, so a reader
knows whether one is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron import errors
from kauldron.evals import _rows

FORMATS = ("npz", "parquet")

# The place of each row in the dataset, where several processes write rows.
_PLACE = "__row__"

_PIECE = re.compile(
    r"(?P<name>.+?)(\.process_(?P<process>\d+)_of_(?P<processes>\d+))?"
    r"(\.part_(?P<part>\d+)_of_(?P<parts>\d+))?\.(?P<format>npz|parquet)"
)


class OutputsError(errors.UserError, ValueError):
    """Outputs that cannot be written or read."""


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A file of a set, told from its name."""

    path: epath.Path
    name: str
    format: str
    process: int
    num_processes: int
    part: int
    num_parts: int

    @classmethod
    def parse(cls, path: epath.Path) -> Self | None:
        match = _PIECE.fullmatch(path.name)
        if match is None:
            return None
        return cls(
            path=path,
            name=match["name"],
            format=match["format"],
            process=int(match["process"] or 0),
            num_processes=int(match["processes"] or 1),
            part=int(match["part"] or 0),
            num_parts=int(match["parts"] or 1),
        )


class OutputFiles:
    """Writes one set of outputs; a context manager that leaves all files, or none.

    Args:
      path: The file, such as `outputs/test/step_100.npz`; the suffix is the format.
      max_bytes_per_file: Rows wait in memory until they are that many bytes.
    """

    def __init__(self, path: epath.PathLike, *, max_bytes_per_file: int) -> None:
        path = epath.Path(path)
        self._folder = path.parent
        self._name, _, self._format = path.name.rpartition(".")
        self._max_bytes = max_bytes_per_file
        self._travelling: _rows.Rows | None = None
        self._waiting: list[dict[str, np.ndarray]] = []
        self._num_bytes = 0
        self._first_row = 0
        self._written: list[epath.Path] = []

    def __enter__(self) -> Self:
        with _explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_temporary()  # those of a process that was killed
        return self

    def __exit__(self, kind: Any, *exc: object) -> None:
        with _explained(self._folder):
            try:
                if kind is None:
                    self._commit()
            finally:
                self._remove_temporary()

    def add(self, rows: _rows.Rows) -> None:
        """Adds the rows of a batch; waits for those of the batch before at most."""
        rows.start_copy()
        previous, self._travelling = self._travelling, rows
        if previous is not None:
            self._store(previous)

    def _store(self, rows: _rows.Rows) -> None:
        own, columns = rows.fetch()
        chunk = {name: _storable(values) for name, values in columns.items()}
        if jax.process_count() > 1:
            chunk[_PLACE] = self._first_row + np.arange(own.start, own.stop)
        self._first_row += rows.num_rows
        self._num_bytes += sum(values.nbytes for values in chunk.values())
        self._waiting.append(chunk)
        if self._num_bytes >= self._max_bytes:
            self._write_waiting()

    def _write_waiting(self) -> None:
        chunks, self._waiting, self._num_bytes = self._waiting, [], 0
        path = self._folder / f"{self._temporary_prefix}{len(self._written)}.tmp"
        columns = {name: _concatenate(name, chunks) for name in chunks[0]}
        write = _write_npz if self._format == "npz" else _write_parquet
        self._written.append(path)
        with _explained(self._folder), path.open("wb") as file:
            write(file, columns)

    def _commit(self) -> None:
        if self._travelling is not None:
            self._store(self._travelling)
        if self._waiting:
            self._write_waiting()
        names = [self._piece_name(i) for i in range(len(self._written))]
        old = self._old_pieces()
        if len(names) > 1:  # or a reader could take old and new ones for one set
            for path in old:
                path.unlink()
        for path, name in zip(self._written, names, strict=True):
            path.replace(self._folder / name)
        for path in old:
            if path.name not in names and len(names) == 1:
                path.unlink()

    def _piece_name(self, part: int) -> str:
        name = self._name
        if jax.process_count() > 1:
            name += f".process_{jax.process_index()}_of_{jax.process_count()}"
        if len(self._written) > 1:
            name += f".part_{part}_of_{len(self._written)}"
        return f"{name}.{self._format}"

    def _old_pieces(self) -> list[epath.Path]:
        """Returns the files of this set that this process has to remove."""
        index, count = jax.process_index(), jax.process_count()
        return [
            piece.path
            for piece in _pieces_in(self._folder)
            if (piece.name, piece.format) == (self._name, self._format)
            and (
                (piece.process, piece.num_processes) == (index, count)
                or (index == 0 and piece.num_processes != count)
            )
        ]

    @property
    def _temporary_prefix(self) -> str:
        return f".{self._name}.{self._format}.process_{jax.process_index()}.part_"

    def _remove_temporary(self) -> None:
        for path in self._folder.iterdir():
            if path.name.startswith(self._temporary_prefix):
                path.unlink()


class NoFiles:
    """Takes the place of `OutputFiles` where nothing is written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def add(self, rows: None) -> None:
        """There are no rows."""


def read_outputs(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Returns written outputs: column -> values, `[n ...]`, in the order of the dataset.

    Args:
      path: The file that was asked for, with or without its suffix, also if it was
        written in pieces; or the folder of an evaluator, `workdir/outputs/<name>`, for
        its newest step.

    Raises:
      OutputsError: If there is nothing, or a piece is missing.
    """
    pieces = _find_set(epath.Path(path))
    tables = [_read(piece) for piece in pieces]
    columns = {
        name: np.concatenate([table[name] for table in tables]) for name in tables[0]
    }
    places = columns.pop(_PLACE, None)
    if places is None:
        return columns
    order = np.argsort(places)
    return {name: values[order] for name, values in columns.items()}


def _find_set(path: epath.Path) -> list[_Piece]:
    name, format = path.name, None
    if path.is_dir():
        found = _pieces_in(path)
        steps = [s for p in found if (s := _step_of(p.name)) is not None]
        folder, name = path, f"step_{max(steps, default=0)}"
    else:
        folder = path.parent
        found = _pieces_in(folder) if folder.exists() else []
        if (asked := _Piece.parse(path)) is not None:
            name, format = asked.name, asked.format
    pieces = [p for p in found if p.name == name and p.format == (format or p.format)]
    if not pieces:
        names = {p.name if format is None else f"{p.name}.{p.format}" for p in found}
        wanted = os.fspath(path)
        raise OutputsError(
            f"There are no outputs {wanted!r}."
            + (f" There are {sorted(names)}." if names else "")
            + errors.did_you_mean(path.name, names)
        )
    _check_complete(pieces, path)
    return sorted(pieces, key=lambda p: (p.process, p.part))


def _check_complete(pieces: list[_Piece], path: epath.Path) -> None:
    if len({piece.format for piece in pieces}) > 1:
        raise OutputsError(
            f"There is more than one {os.fspath(path)!r}: "
            f"{sorted(p.path.name for p in pieces)}. Say which, with its suffix."
        )
    there = {(p.process, p.num_processes, p.part, p.num_parts) for p in pieces}
    num_processes = pieces[0].num_processes
    num_parts = {p.process: p.num_parts for p in pieces}
    wanted = {
        (process, num_processes, part, num_parts.get(process, 1))
        for process in range(num_processes)
        for part in range(num_parts.get(process, 1))
    }
    if there != wanted:
        raise OutputsError(
            f"The outputs {os.fspath(path)!r} are not complete: found "
            f"{sorted(p.path.name for p in pieces)}. Write them again."
        )


def _pieces_in(folder: epath.Path) -> list[_Piece]:
    pieces = (_Piece.parse(path) for path in folder.iterdir())
    return [piece for piece in pieces if piece is not None]


def _step_of(name: str) -> int | None:
    match = re.fullmatch(r"step_(\d+)", name)
    return int(match[1]) if match else None


def _read(piece: _Piece) -> dict[str, np.ndarray]:
    if piece.format == "npz":
        with piece.path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    from kauldron import data

    columns = data.py.Parquet(os.fspath(piece.path), shuffle=False).data_source
    # Parquet's texts have no fixed width.
    return {k: _as_fixed_width(v) for k, v in columns.items()}


def _as_fixed_width(values: np.ndarray) -> np.ndarray:
    if values.dtype != object:
        return values
    is_bytes = any(isinstance(value, bytes) for value in values.ravel()[:1])
    return values.astype(bytes if is_bytes else str)


def _storable(values: np.ndarray) -> np.ndarray:
    """Returns values in a dtype that files know: bf16 becomes f32, which is exact."""
    if values.dtype.kind in "biufcUS":
        return values
    is_float = jnp.issubdtype(values.dtype, jnp.floating)
    return values.astype(np.float32 if is_float else np.int32)


def _concatenate(name: str, chunks: list[dict[str, np.ndarray]]) -> np.ndarray:
    try:
        return np.concatenate([chunk[name] for chunk in chunks])
    except ValueError:
        shapes = sorted({chunk[name].shape[1:] for chunk in chunks})
        raise OutputsError(
            f"The output {name!r} has rows of several shapes, {shapes}: they cannot be "
            "in one file. Pad them, with `kd.data.PadToShape`."
        ) from None


def _write_npz(file: Any, columns: Mapping[str, np.ndarray]) -> None:
    # Not `np.savez`: it takes no array called `file`. Uncompressed files can be mapped.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, values in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(
                    member, np.ascontiguousarray(values), allow_pickle=False
                )


def _write_parquet(file: Any, columns: Mapping[str, np.ndarray]) -> None:
    import pyarrow
    import pyarrow.parquet

    arrays = {name: _to_arrow(name, values) for name, values in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), file)


def _to_arrow(name: str, values: np.ndarray) -> Any:
    """Returns a column; rows with axes become lists of fixed size, nested."""
    import pyarrow

    if 0 in values.shape[1:] or values.dtype.kind == "c":
        raise OutputsError(
            f"Parquet cannot hold {name!r}, of shape {values.shape} and dtype "
            f"{values.dtype}: use the format 'npz'."
        )
    array = pyarrow.array(values.reshape(-1))
    for size in reversed(values.shape[1:]):
        array = pyarrow.FixedSizeListArray.from_arrays(array, size)
    return array


@contextlib.contextmanager
def _explained(folder: epath.Path) -> Iterator[None]:
    """Makes what the file system refuses a message."""
    try:
        yield
    except OSError as e:
        raise OutputsError(
            f"Outputs cannot be written to {os.fspath(folder)!r}: {e.strerror or e}."
        ) from e
