"""Published import path of `kd.utils.status`: lines for the person at the screen."""

from __future__ import annotations

import sys

on_xmanager = False


def log(message: str) -> None:
    """Prints one line (to stderr, so that stdout stays for results)."""
    print(message, file=sys.stderr, flush=True)


def log_status(message: str) -> None:
    """Prints one line about the state of the run."""
    log(message)


def warn(message: str) -> None:
    """Prints one warning line."""
    log(f"Warning: {message}")
