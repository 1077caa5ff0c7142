"""How much memory of the machine is free."""

from __future__ import annotations

import os
import pathlib


def free_bytes() -> int:
    """Returns the memory that is available, of the machine or of the job."""
    available = _available_of_machine()
    limit, used = (_number(name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        available = min(available, limit - used)
    return max(available, 0)


def _available_of_machine() -> int:
    try:
        text = pathlib.Path("/proc/meminfo").read_text()
        line = next(x for x in text.splitlines() if x.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        # Systems without such a file don't tell what is free.
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
