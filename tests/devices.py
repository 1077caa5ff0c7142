"""Flags of XLA for processes with another number of simulated devices."""

from __future__ import annotations

import os

_FLAG = "--xla_force_host_platform_device_count="


def xla_flags(num_devices: int) -> str:
    """Returns the flags of this process with that number of devices.

    How programs are compiled (see `tests/conftest.py`) is the same in both.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    others = [flag for flag in flags if not flag.startswith(_FLAG)]
    return " ".join([f"{_FLAG}{num_devices}", *others])
