"""Prefetching of training batches to the devices, one step ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kauldron import sharding
from kauldron._base import errors
from kauldron.data import utils as data_utils


class OutOfDataError(errors.UserError, ValueError):
    """The dataset ended before the training did."""


class BatchesAhead:
    """Iterates device batches; the next one travels while the current one is used.

    Text stays on the host: devices hold numbers only.

    Its state is that of the batches handed out: the one ahead does not count, so
    that a restart repeats no batch and skips none. Batches that depend on the state of
    the run are not loaded ahead.
    """

    def __init__(self, host_batches: Any, batch_sharding: Any) -> None:
        self._host_batches = host_batches
        self._place = sharding.BatchPlacer(
            lambda batch: sharding.device_put(batch, batch_sharding)
        )
        self._state = host_batches.get_state()
        self._ahead: Any = None
        self._is_following = False

    def follow(self, get_state: Callable[[], Any]) -> None:
        """Says where the state is that the next step begins with."""
        # An iterator of one's own need not derive from `kd.data.iters.Iterator`.
        follow = getattr(self._host_batches, "follow", None)
        self._is_following = follow is not None and follow(get_state)

    def get_state(self) -> Any:
        """Returns the position after the batches handed out, JSON-able."""
        return self._state

    def set_state(self, state: Any) -> None:
        """Continues from a position that `get_state` returned."""
        self._host_batches.set_state(state)
        self._state, self._ahead = state, None

    def load_next(self) -> None:
        """Loads the next batch, so that errors in it surface now."""
        if self._ahead is None:
            self._ahead = self._load(may_end=True)

    def next(self, *, is_last: bool = False) -> Any:
        """Returns the next batch; loads one more unless `is_last`, or none is ahead.

        Raises:
          OutOfDataError: If there is none.
        """
        batch = self._load() if self._ahead is None else self._ahead
        self._state = self._host_batches.get_state()
        loads_more = not (is_last or self._is_following)
        self._ahead = self._load(may_end=True) if loads_more else None
        return batch

    def close(self) -> None:
        """Ends worker processes and threads."""
        self._host_batches.close()

    def _load(self, *, may_end: bool = False) -> Any:
        try:
            with data_utils.Naming("cfg.train_ds"):
                batch = data_utils.for_devices(next(self._host_batches))
            return self._place(batch)
        except StopIteration:
            if may_end:
                return None
            raise OutOfDataError(
                "`train_ds` has no more batches. Leave out `num_epochs` to repeat it "
                "endlessly, or lower `cfg.num_train_steps`."
            ) from None
