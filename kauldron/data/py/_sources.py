"""Pipelines over given data source objects."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from kauldron.data.py import base


class DrawnSource(Protocol):
    """A source whose examples are drawn anew in every epoch, such as random patches.

    What an example is depends on the arguments of `draw_example` alone. So batches stay the same
    after an interruption, for any number of workers and processes.

    It may have two attributes more. `num_bytes`: memory that a copy in a worker takes.
    `blocks`: the block of each example, `i64[n]`, and how many blocks are shuffled at once.
    So examples that need the same large file follow each other.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any:
        """Returns `draw_example(index, 0, 0)`."""

    def draw_example(self, index: int, seed: int, epoch: int) -> Any:
        """Returns an example.

        Args:
          index: In `[0, len(self))`.
          seed: That of the pipeline, in `[0, 2**64)`.
          epoch: How often the pipeline has been through all examples before.
        """


@dataclasses.dataclass(frozen=True)
class DataSource(base.DataSourceBase):
    """Reads any random access source: `DataSource(source, shuffle=True, ...)`.

    Attributes:
      data_source: Has `__len__()` and `__getitem__(index)`, and is read many records at a
        time if it has `__getitems__(indices)`. A list, an array, or a dict of arrays
        whose first axis counts examples will do; arrays are the fastest. A `DrawnSource`
        has other examples in every epoch.
    """

    data_source: Any
