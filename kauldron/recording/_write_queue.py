"""Threads that run jobs in the order given, while the training goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from kauldron._base import console, problem_log
from kauldron.recording import _writer_base


class WriteQueue:
    """A thread and the jobs that wait for it.

    What a job raises is reported once per kind of error; the run goes on.

    Args:
      name: What the thread works for, in messages: `"the writer 'mine'"`.
      max_waiting: How many jobs may wait.
      may_drop: Whether a job too many is dropped (reported once) or waited with.
      problems: Is told what fails or is lost.
    """

    def __init__(
        self,
        name: str,
        *,
        max_waiting: int,
        may_drop: bool,
        problems: problem_log.Problems,
    ) -> None:
        self._name = name
        self._problems = problems
        self._may_drop = may_drop
        self._queue: queue.Queue[Callable[[], Any] | None] = queue.Queue(max_waiting)
        self._num_failed = self._num_dropped = 0
        self._may_be_written_later = True
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
                console.warn(
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

    def close(
        self,
        *,
        timeout_secs: float | None = None,
        has_all: Callable[[], bool] = lambda: False,
    ) -> None:
        """Runs what is waiting, and ends the thread; says so if that takes too long.

        Args:
          timeout_secs: How long to wait.
          has_all: Asked at the end, if nothing but the file system has failed: whether
            everything was written later.
        """
        if self.join(timeout_secs=timeout_secs):
            self._queue.put(None)
            self._thread.join()
            if self._num_failed and self._may_be_written_later and has_all():
                self._problems.state(self._name, None)
        else:
            num_lost = self._queue.unfinished_tasks
            console.warn(
                f"{self._name} has not finished within {timeout_secs:g} s: "
                f"{num_lost} writes are lost."
            )
            self._problems.state(
                self._name, f"has not finished: {num_lost} writes lost"
            )
        if self._num_dropped:
            fact = f"was too slow: {self._num_dropped} writes left out"
            self._problems.state(self._name, fact)
        if self._num_failed + self._num_dropped > 1:
            console.log(
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
        self._may_be_written_later &= isinstance(e, OSError)
        self._problems.failed(self._name, e, consequence="; this stops nothing")
