"""Memory of this process, as Linux tells it."""

from __future__ import annotations

import re

_NAMES = {"resident": "VmRSS", "peak": "VmHWM", "private": "RssAnon"}


def of_process() -> dict[str, float]:
    """Returns MiB: resident, at the peak, and what no file holds."""
    with open("/proc/self/status") as file:
        found = dict(re.findall(r"(\w+):\s+(\d+) kB", file.read()))
    return {name: int(found[key]) / 1024 for name, key in _NAMES.items()}
