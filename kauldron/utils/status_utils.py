"""Published import path of `kd.utils.status`: lines for the person at the screen."""

from __future__ import annotations

import sys

on_xmanager = False


def is_lead_host() -> bool:
    """Whether this is the process that writes files, of all processes of the run."""
    import jax

    return jax.process_index() == 0


def log(message: str) -> None:
    """Prints one line (to stderr, so that stdout stays for results)."""
    print(message, file=sys.stderr, flush=True)


def log_status(message: str) -> None:
    """Prints one line about the state of the run."""
    log(message)


def warn(message: str) -> None:
    """Prints one warning line."""
    log(f"Warning: {message}")
