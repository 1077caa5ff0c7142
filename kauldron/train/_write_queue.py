"""Threads that run jobs in the order given, while the training goes on."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

from kauldron.train import _shown_values, _writer_base
from kauldron.utils import status_utils


class WriteQueue:
    """A thread and the jobs that wait for it.

    What a job raises is reported once per kind of error; the run goes on.

    Args:
      name: What the thread works for, in messages: `"the writer 'mine'"`.
      max_waiting: How many jobs may wait.
      may_drop: Whether a job too many is dropped (reported once) or waited with.
    """

    def __init__(self, name: str, *, max_waiting: int, may_drop: bool) -> None:
        self._name = name
        self._may_drop = may_drop
        self._queue: queue.Queue[Callable[[], Any] | None] = queue.Queue(max_waiting)
        self._reported: set[type[Exception]] = set()
        self._num_failed = self._num_dropped = 0
        # A daemon: a service that hangs cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"kauldron {name}", daemon=True
        )
        self._thread.start()

    def submit(self, job: Callable[[], Any]) -> None:
        """Adds a job."""
        try:
            self._queue.put(job, block=not self._may_drop)
        except queue.Full:
            self._num_dropped += 1
            if self._num_dropped == 1:
                status_utils.warn(
                    f"{self._name} is too slow: {self._queue.maxsize} writes wait for "
                    "it, further ones are left out until it catches up. Training goes on."
                )

    def join(self, *, timeout_secs: float | None = None) -> bool:
        """Waits until everything submitted has run; returns whether it has."""
        all_done = self._queue.all_tasks_done
        with all_done:
            return all_done.wait_for(
                lambda: not self._queue.unfinished_tasks, timeout_secs
            )

    def close(self, *, timeout_secs: float | None = None) -> None:
        """Runs what is waiting, and ends the thread; says so if that takes too long."""
        if self.join(timeout_secs=timeout_secs):
            self._queue.put(None)
            self._thread.join()
        else:
            status_utils.warn(
                f"{self._name} has not finished within {timeout_secs:g} s: "
                f"{self._queue.unfinished_tasks} writes are lost."
            )
        if self._num_failed + self._num_dropped > 1:
            status_utils.log(
                f"In all: {self._name} failed {self._num_failed} times; "
                f"{self._num_dropped} writes were left out."
            )

    def _run(self) -> None:
        _writer_base.background.set(None)  # what runs here writes at once
        while (job := self._queue.get()) is not None:
            try:
                job()
            except Exception as e:
                self._report(e)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _report(self, e: Exception) -> None:
        self._num_failed += 1
        if type(e) in self._reported:
            return
        self._reported.add(type(e))
        # A full disk says it all in a line; what code raises needs to be found in it.
        is_plain = isinstance(e, OSError | _shown_values.CannotShowError)
        text = str(e) if is_plain else "".join(traceback.format_exception(e)).rstrip()
        status_utils.warn(
            f"{self._name} failed; training goes on. Further errors of this kind are "
            f"counted, not shown.\n{text}"
        )
