"""Per-example rows of all batches, kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np

from kauldron.evals import example_rows


class InMemory:
    """Keeps rows in host memory; takes the place of files."""

    def __init__(self) -> None:
        self._chunks: list[Mapping[str, np.ndarray]] = []
        self._places: list[np.ndarray] = []
        self._num_rows = 0
        self._travelling: example_rows.Rows | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def add(self, rows: example_rows.Rows) -> None:
        """Adds the rows of a batch; waits for those of the batch before at most."""
        rows.start_copy()
        self._store()
        self._travelling = rows

    def columns(self) -> dict[str, np.ndarray]:
        """Returns column -> the rows that this process is responsible for."""
        self._store()
        names = self._chunks[0]
        return {k: np.concatenate([c[k] for c in self._chunks]) for k in names}

    def all_columns(self) -> dict[str, np.ndarray]:
        """Returns column -> the rows of all processes, in order of the dataset."""
        columns = self.columns()
        if jax.process_count() == 1:
            return columns
        place = np.concatenate(self._places)
        gathered = {k: _gather(v) for k, v in {**columns, "": place}.items()}
        order = np.argsort(gathered.pop(""))
        return {name: values[order] for name, values in gathered.items()}

    def _store(self) -> None:
        if self._travelling is not None:
            own, columns = self._travelling.fetch()
            self._chunks.append(columns)
            self._places.append(self._num_rows + np.arange(own.start, own.stop))
            self._num_rows += self._travelling.num_rows
            self._travelling = None


def _gather(values: np.ndarray) -> Any:
    """Concatenates the rows of all processes, which may differ in number."""
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.int32(len(values))).ravel()
    padded = np.zeros((max(sizes), *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    parts = multihost_utils.process_allgather(padded)
    return np.concatenate([part[:n] for part, n in zip(parts, sizes, strict=True)])
