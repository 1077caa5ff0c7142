"""Environment variables that switch off what is on by default."""

from __future__ import annotations

import os

_OFF = ("0", "false", "off")


def is_on(variable: str) -> bool:
    """Whether a variable is not set, or says anything but `0`, `false` or `off`."""
    return os.environ.get(variable, "1").lower() not in _OFF
