"""Published import path of `kd.utils.status`: lines for the person at the screen."""

from __future__ import annotations

import sys

on_xmanager = False


def is_lead_host() -> bool:
    """Whether this is the process that writes files, of all processes of the run."""
    import jax

    return jax.process_index() == 0


def log(message: str) -> None:
    """Prints one line (to stderr, so that stdout stays for results).

    Of several processes of a run only the first does: all would say the same.
    """
    if not _index_of_process():
        _print(message)


def log_status(message: str) -> None:
    """Prints one line about the state of the run."""
    log(message)


def warn(message: str) -> None:
    """Prints one warning line; of several processes, those but the first say which."""
    index = _index_of_process()
    _print(f"Warning (process {index}): {message}" if index else f"Warning: {message}")


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _index_of_process() -> int:
    """Returns which of several processes this is; starts no devices to find out."""
    jax = sys.modules.get("jax")
    distributed = getattr(jax, "distributed", None)
    if jax is None or distributed is None or not distributed.is_initialized():
        return 0
    return jax.process_index()
