"""Filtering of Orbax's log messages about a failed save: we report it once.

Orbax logs a traceback in each thread of a failed save. It closes its event loops while
the threads of TensorStore are still writing and then find them closed, and asyncio logs
results that were never retrieved, once they are garbage-collected. All of this stems
from the one error that the save ends with, which is raised, or reported in one line.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any, ClassVar

_LOGGERS = ("absl", "asyncio")
_ORBAX_FOLDER = f"orbax{os.sep}checkpoint{os.sep}"
_ORBAX_MODULE = "orbax.checkpoint."
_WAIT_SECS = 10.0


class QuietOrbax:
    """Drops what Orbax says about failures, from `start` to `stop`; nothing else.

    Loggers and Python's hook belong to the process: several at a time share them.
    """

    _lock = threading.Lock()
    _active: ClassVar[set[QuietOrbax]] = set()
    _hook_before: ClassVar[Any] = None

    def __init__(self) -> None:
        self._has_failed = False

    def start(self) -> None:
        """Starts filtering."""
        cls = type(self)
        with cls._lock:
            if not cls._active:
                for name in _LOGGERS:
                    logging.getLogger(name).addFilter(_FILTER)
                cls._hook_before, sys.unraisablehook = sys.unraisablehook, _unraisable
            cls._active.add(self)

    def failed(self) -> None:
        """A save has failed."""
        self._has_failed = True

    def stop(self) -> None:
        """Waits for the remaining messages, then stops."""
        cls = type(self)
        if self._has_failed:
            _join_threads()
            gc.collect()  # asyncio now logs results never retrieved
        with cls._lock:
            cls._active.discard(self)
            if cls._active:
                return
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(_FILTER)
            if sys.unraisablehook is _unraisable:
                sys.unraisablehook = cls._hook_before


def _unraisable(unraisable: Any) -> None:
    if not _is_late_result(unraisable.exc_value, unraisable.exc_traceback):
        QuietOrbax._hook_before(unraisable)


class _WithoutTracebacks(logging.Filter):
    """Drops errors with a traceback that Orbax logs, or that asyncio logs for it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR or not record.exc_info:
            return True
        if _ORBAX_FOLDER in record.pathname:
            return False
        error = record.exc_info[1]
        return not (record.name == "asyncio" and error and _is_of_save(error))


_FILTER = _WithoutTracebacks()


def _is_of_save(error: BaseException) -> bool:
    """Whether an error comes out of Orbax or TensorStore."""
    frames = traceback.walk_tb(error.__traceback__)
    is_orbax = any(_ORBAX_FOLDER in f.f_code.co_filename for f, _ in frames)
    return is_orbax or "tensorstore_spec" in str(error)


def _is_late_result(error: BaseException | None, tb: TracebackType | None) -> bool:
    """Whether a thread of TensorStore ran into a closed event loop.

    Such threads were not started by Python: all their frames are asyncio's.
    """
    if not isinstance(error, RuntimeError) or str(error) != "Event loop is closed":
        return False
    folder = f"{os.sep}asyncio{os.sep}"
    return all(folder in frame.f_code.co_filename for frame, _ in traceback.walk_tb(tb))


def _join_threads() -> None:
    """Waits for the threads of a save that has failed; they end soon after it."""
    deadline = time.monotonic() + _WAIT_SECS
    for thread in threading.enumerate():
        is_orbax = type(thread).__module__.startswith(_ORBAX_MODULE)
        if is_orbax and thread is not threading.current_thread():
            # Their own `join` would re-raise their exception.
            threading.Thread.join(thread, max(0.0, deadline - time.monotonic()))
