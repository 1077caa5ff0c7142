"""A thread that computes and writes results while the next steps run."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

from kauldron.utils import status_utils

# Each waiting entry keeps the states of one logging step on the devices.
_MAX_WAITING = 16


class WriteQueue:
    """Runs functions in the order given, in the background.

    A function that raises is reported once per kind of error; the run goes on.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], Any] | None] = queue.Queue(_MAX_WAITING)
        self._reported: set[tuple[type, str]] = set()
        self._thread = threading.Thread(
            target=self._run, name="kauldron-writer", daemon=True
        )
        self._thread.start()

    def submit(self, function: Callable[[], Any]) -> None:
        """Adds a function; waits if too many are waiting already."""
        self._queue.put(function)

    def join(self) -> None:
        """Waits until everything submitted has run."""
        self._queue.join()

    def close(self) -> None:
        """Runs what is waiting, then ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (function := self._queue.get()) is not None:
            try:
                function()
            except Exception as e:
                self._report(e)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _report(self, e: Exception) -> None:
        kind = (type(e), str(e))
        if kind not in self._reported:
            self._reported.add(kind)
            trace = "".join(traceback.format_exception(e))
            status_utils.warn(
                f"results could not be written; training goes on.\n{trace}"
            )
