"""`InMemoryPipeline`: batches of arrays that fit in memory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kauldron.data import _errors, _nodes, _readers, iters
from kauldron.data.py import _slices, base


@dataclasses.dataclass(frozen=True, kw_only=True)
class InMemoryPipeline(base.DataSourceBase):
    """Batches of arrays in memory, gathered and transformed as a whole.

    Attributes:
      loader: Returns an array, or nested dicts of arrays, with equally many rows. Called
        once, when the data are first needed.
      shuffle: Whether the order is drawn anew in every epoch.
      drop_remainder: The published name of `batch_drop_remainder`; give one of them.
    """

    loader: Callable[[], Any]
    shuffle: bool = False
    drop_remainder: bool | None = None

    def __post_init__(self) -> None:
        if self.drop_remainder is not None:
            if self.batch_drop_remainder not in (None, self.drop_remainder):
                raise _errors.DataError(
                    "`drop_remainder` and `batch_drop_remainder` mean the same: give "
                    f"one of them, not {self.drop_remainder!r} and "
                    f"{self.batch_drop_remainder!r}."
                )
            object.__setattr__(self, "batch_drop_remainder", self.drop_remainder)
        super().__post_init__()

    @functools.cached_property
    def data_source(self) -> Any:
        return self.loader()

    @property
    def examples(self) -> Any:
        """What `loader()` returned."""
        return self.data_source

    @property
    def num_examples(self) -> int:
        """Number of rows."""
        return len(self._reader)

    def iter(self) -> iters.Iterator:
        """Returns `iter(self)`."""
        return iter(self)

    def sampler(self) -> Iterator[np.ndarray]:
        """Yields the rows of each batch, `i64[b]`: those that `iter(self)` takes."""
        rows = dataclasses.replace(
            self,
            loader=lambda: np.arange(self.num_examples),
            transforms=_slices.only(self.transforms),
            seed=self._int_seed,
            num_workers=0,
        )
        return iter(rows)

    def _open_reader(self) -> _nodes.Reader:
        arrays = self.data_source
        if not isinstance(arrays, Mapping) and not hasattr(arrays, "shape"):
            raise _errors.DataError(
                "`loader()` must return an array, or a dict of arrays: got "
                f"{type(arrays).__name__}."
            )
        return _readers.reader_for(_readers.ColumnsReader(arrays))
