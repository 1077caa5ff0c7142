"""Volumes kept in memory, up to a budget."""

from __future__ import annotations

import collections
import os
import pathlib
import threading
from collections.abc import Callable, Hashable

import numpy as np

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
    available = _available_of_machine()
    limit, used = (_number(name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        available = min(available, limit - used)
    return int(max(available, 0) * _SHARE)


def _available_of_machine() -> int:
    try:
        text = pathlib.Path("/proc/meminfo").read_text()
        line = next(x for x in text.splitlines() if x.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _number(name: str) -> int | None:
    """Returns a number of this process's control group (version 2); None if unlimited."""
    try:
        lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
        group = next(line[3:] for line in lines if line.startswith("0::"))
        text = (pathlib.Path("/sys/fs/cgroup") / group.lstrip("/") / name).read_text()
    except (OSError, StopIteration):
        return None
    return int(text) if text.strip().isdigit() else None
