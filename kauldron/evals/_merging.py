"""Merging the states of many batches without making the devices wait."""

from __future__ import annotations

import collections
from typing import Any

import jax

from kauldron.train import auxiliaries

# The states of so many batches stay on the devices. With one, the host waits for the
# batch before the one that runs, and needs the states only when they are there.
_NUM_WAITING = 1


class Merging:
    """Merged states, a few batches behind.

    States travel to the host while the devices work on later batches; there they are
    added up in f64 and int64, see `metrics.State`.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[auxiliaries.AuxiliariesState] = (
            collections.deque()
        )
        self._merged: auxiliaries.AuxiliariesState | None = None

    def add(self, aux: auxiliaries.AuxiliariesState) -> None:
        """Adds the states of a batch; waits for those of an earlier one at most."""
        for leaf in jax.tree.leaves(aux):
            leaf.copy_to_host_async()
        self._waiting.append(aux)
        if len(self._waiting) > _NUM_WAITING:
            self._merge_first()

    def result(self) -> Any:
        """Returns the states of all batches; `None` if there was none."""
        while self._waiting:
            self._merge_first()
        return self._merged

    def _merge_first(self) -> None:
        # Added to nothing, a state is fetched as well.
        self._merged = self._merged | self._waiting.popleft()
