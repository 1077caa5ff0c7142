"""Per-example output files: `.npz` or Parquet, split into parts where large.

Files are written under other names and renamed when all of a set are complete, see
`output_pieces`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron.data import DataError, column_files
from kauldron.evals import example_rows, output_pieces
from kauldron.workdir import array_spec


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
        self._travelling: example_rows.Rows | None = None
        self._waiting: list[dict[str, np.ndarray]] = []
        self._num_bytes = 0
        self._first_row = 0
        self._row_specs: dict[str, array_spec.ArraySpec] = {}
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

    @property
    def specs(self) -> dict[str, array_spec.ArraySpec]:
        """Column -> shape and dtype of all rows, those of other processes included."""
        return {
            name: array_spec.ArraySpec(
                shape=(self._first_row, *row.shape), dtype=row.dtype
            )
            for name, row in self._row_specs.items()
            if name != output_pieces.PLACE
        }

    def add(self, rows: example_rows.Rows) -> None:
        """Adds the rows of a batch; waits for those of the batch before at most."""
        rows.start_copy()
        previous, self._travelling = self._travelling, rows
        if previous is not None:
            self._store(previous)

    def _store(self, rows: example_rows.Rows) -> None:
        own, columns = rows.fetch()
        chunk = {name: _storable(values) for name, values in columns.items()}
        if jax.process_count() > 1:
            chunk[output_pieces.PLACE] = self._first_row + np.arange(
                own.start, own.stop
            )
        self._first_row += rows.num_rows
        self._num_bytes += sum(values.nbytes for values in chunk.values())
        self._waiting.append(chunk)
        self._row_specs = {
            k: array_spec.ArraySpec(shape=v.shape[1:], dtype=v.dtype)
            for k, v in chunk.items()
        }
        if self._num_bytes >= self._max_bytes:
            self._write_waiting()

    def _write_waiting(self) -> None:
        chunks, self._waiting, self._num_bytes = self._waiting, [], 0
        path = self._folder / f"{self._temporary_prefix}{len(self._written)}.tmp"
        columns = {name: _concatenate(name, chunks) for name in chunks[0]}
        is_npz = self._format == "npz"
        write = column_files.write_npz if is_npz else _write_parquet
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
            for piece in output_pieces.pieces_in(self._folder)
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
        raise output_pieces.OutputsError(
            f"The output {name!r} has rows of several shapes, {shapes}: they cannot be "
            "in one file. Pad them, with `kd.data.PadToShape`."
        ) from None


def _write_parquet(file: Any, columns: Mapping[str, np.ndarray]) -> None:
    try:
        column_files.write_parquet(file, columns)
    except DataError as e:
        raise output_pieces.OutputsError(str(e)) from None


@contextlib.contextmanager
def _explained(folder: epath.Path) -> Iterator[None]:
    """Turns errors of the file system into messages."""
    try:
        yield
    except OSError as e:
        raise output_pieces.OutputsError(
            f"Outputs cannot be written to {os.fspath(folder)!r}: {e.strerror or e}."
        ) from e
