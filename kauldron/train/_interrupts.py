"""Signals that ask a run to stop: noted at once, obeyed at the next step boundary."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from kauldron.utils import status_utils

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether a signal has arrived.

    Attributes:
      signal_name: Name of the signal, such as `'SIGTERM'`; `None` while none came.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None


@contextlib.contextmanager
def catch() -> Iterator[StopRequest]:
    """Turns the first signal into a request; a second one ends the process at once.

    Only the main thread can receive signals: elsewhere nothing is installed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del frame
        if request:
            restore()
            os.kill(os.getpid(), signum)
            return
        request.signal_name = signal.Signals(signum).name
        status_utils.log(
            f"{request.signal_name}: saving after this step. Once more ends at once."
        )

    previous = {s: signal.signal(s, on_signal) for s in _SIGNALS}

    def restore() -> None:
        for s, handler in previous.items():
            signal.signal(s, handler)

    try:
        yield request
    finally:
        restore()
