"""Signals that this process receives, and whether another process lives."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType


@contextlib.contextmanager
def handled(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[Callable[[], None]]:
    """Handles signals inside a block; yields what puts the handlers before them back.

    They are put back at the end in any case. Python has handlers in the main thread only:
    in another one, nothing is changed.

    Args:
      numbers: The signals.
      handler: As for `signal.signal`.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, handler) for number in numbers}

    def restore() -> None:
        for number, before in previous.items():
            signal.signal(number, before)

    try:
        yield restore
    finally:
        restore()


def is_alive(pid: int) -> bool:
    """Returns whether a process of this machine has not ended, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
