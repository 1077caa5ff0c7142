"""Volumes kept in memory, up to a budget."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Hashable

import numpy as np

from kauldron._base import host_memory

_SHARE = 0.5


class Cache:
    """Keeps the arrays that were used last, as many as fit into a budget.

    A copy in another process is empty.

    Args:
      max_bytes: The budget; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: collections.OrderedDict[Hashable, np.ndarray] = (
            collections.OrderedDict()
        )
        self._num_bytes = 0
        self._lock = threading.Lock()

    @property
    def max_bytes(self) -> int:
        """The budget."""
        return self._max_bytes

    def has_room(self, key: Hashable, num_bytes: int) -> bool:
        """Whether an array is held, or can be without giving up another one."""
        return key in self._held or self._num_bytes + num_bytes <= self._max_bytes

    def get(self, key: Hashable, load: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns what is held, or loads it and holds it if it fits."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        array = load()
        if array.nbytes > self._max_bytes:
            return array
        array.flags.writeable = False
        with self._lock:
            if key not in self._held:
                self._held[key] = array
                self._num_bytes += array.nbytes
            while self._num_bytes > self._max_bytes:
                _, oldest = self._held.popitem(last=False)
                self._num_bytes -= oldest.nbytes
        return array

    @property
    def num_bytes(self) -> int:
        """What is held now."""
        return self._num_bytes

    def __getstate__(self) -> dict[str, int]:
        return {"max_bytes": self._max_bytes}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["max_bytes"])


def default_budget() -> int:
    """Returns half of the memory that is available, of the machine or of the job."""
    return int(host_memory.free_bytes() * _SHARE)
