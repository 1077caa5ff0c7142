"""Batch size: global, and per process."""

from __future__ import annotations

import dataclasses

from kauldron._base import processes
from kauldron.data import _errors


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """Size of a batch over all processes.

    Attributes:
      total: Rows of the global batch.
    """

    total: int

    @property
    def per_process(self) -> int:
        """Rows that one process loads.

        Raises:
          DataError: If the processes cannot share the rows evenly.
        """
        _, count = processes.index_and_count()
        if self.total % count:
            below, above = self.total // count * count, -(-self.total // count) * count
            choices = [n for n in (below, above) if n]
            raise _errors.DataError(
                f"`batch_size` must divide evenly over the processes: got {self.total} "
                f"for {count} processes. Use {' or '.join(map(str, choices))}."
            )
        return self.total // count
