"""Thread scheduling: threads that build batches yield the GIL between records.

CPython hands the interpreter to a waiting thread only after 5 ms. A training loop that
waits that long several times per step is slower than without any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_INTERVAL_SECS = 1e-3
_PAUSE_SECS = 1e-6  # the system makes it about 0.06 ms

_state = threading.local()


def in_this_thread() -> None:
    """Makes the calling thread yield to others."""
    _state.due = time.perf_counter() + _INTERVAL_SECS


def of_this_thread() -> Callable[[], None] | None:
    """Returns what to call between two records; `None` in threads that don't yield."""
    return _give_way if getattr(_state, "due", None) is not None else None


def _give_way() -> None:
    if time.perf_counter() > _state.due:
        time.sleep(_PAUSE_SECS)
        _state.due = time.perf_counter() + _INTERVAL_SECS
