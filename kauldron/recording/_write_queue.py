"""Background job queues: threads that run jobs in order while training continues."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from kauldron._base import console, problem_log
from kauldron.recording import _attempts


class WriteQueue:
    """A thread and the jobs that wait for it.

    What a job raises is reported once per kind of error; the run continues. Jobs that
    are dropped, and what the last ones leave unwritten, are counted and reported at the
    end.

    Args:
      name: What the thread works for, in messages: `"the writer 'mine'"`.
      max_waiting: How many jobs may wait.
      may_drop: Whether a job beyond `max_waiting` is dropped (reported once) or waits.
      problems: Receives what fails or is lost.
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
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(max_waiting)
        self._num_failed = self._num_dropped = 0
        self._may_be_written_later = True  # until something other than a disk fails
        # A daemon: a service that hangs cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"kauldron {name}", daemon=True
        )
        self._thread.start()

    def submit(self, job: Callable[[], object]) -> None:
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
        last: Sequence[Callable[[], object]] = (),
        unwritten: Callable[[], Mapping[str, int] | None] = lambda: None,
    ) -> None:
        """Runs the waiting jobs and ends the thread; reports what is lost.

        Args:
          timeout_secs: How long to wait.
          last: Jobs to run after all others; none of them is dropped.
          unwritten: Asked at the end: what is not written, by name; `None` if unknown.
        """
        facts = self._finish(last, unwritten, timeout_secs)
        if self._num_dropped:
            facts.append(f"was too slow: {self._num_dropped} writes left out")
        if facts:
            self._problems.state(self._name, "; ".join(facts))
        if self._num_failed + self._num_dropped > 1:
            console.log(
                f"In all: {self._name} failed {self._num_failed} times; "
                f"{self._num_dropped} writes were left out."
            )

    def _finish(
        self,
        last: Sequence[Callable[[], object]],
        unwritten: Callable[[], Mapping[str, int] | None],
        timeout_secs: float | None,
    ) -> list[str]:
        """Returns what is lost, each as the end of a sentence."""
        end = None if timeout_secs is None else time.monotonic() + timeout_secs
        if has_run := self.join(timeout_secs=timeout_secs):
            for job in last:
                self._queue.put(job)
            left = None if end is None else max(end - time.monotonic(), 0.0)
            has_run = self.join(timeout_secs=left)
        if not has_run:
            num_lost = self._queue.unfinished_tasks
            console.warn(
                f"{self._name} has not finished within {timeout_secs:g} s: "
                f"{num_lost} writes are lost."
            )
            return [f"has not finished: {num_lost} writes lost"]
        self._queue.put(None)
        self._thread.join()
        counts = self._ask(unwritten)
        if lost := {what: n for what, n in (counts or {}).items() if n}:
            told = ", ".join(f"{n:,} {what}" for what, n in lost.items())
            return [f"has not written all: {told} lost"]
        if counts is not None and self._num_failed and self._may_be_written_later:
            self._problems.state(self._name, None)
        return []

    def _ask(
        self, unwritten: Callable[[], Mapping[str, int] | None]
    ) -> Mapping[str, int] | None:
        try:
            return unwritten()
        except Exception as e:
            self._report(e)
            return None

    def _run(self) -> None:
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
        for error in _attempts.each(e):
            self._may_be_written_later &= isinstance(error, OSError)
            self._problems.failed(self._name, error, consequence="; this stops nothing")
