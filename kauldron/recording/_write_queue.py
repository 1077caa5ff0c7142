"""Background job queues: threads that run jobs in order while training continues."""

from __future__ import annotations

import collections
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from kauldron._base import console, problem_log
from kauldron.recording import _attempts

Within: TypeAlias = Callable[[], contextlib.AbstractContextManager[object]]
_Job: TypeAlias = tuple[Callable[[], object], Within | None]


class WriteQueue:
    """A thread and the jobs that wait for it.

    Waking a thread, and opening a file, cost more than most jobs. So jobs that follow
    each other closely wait a moment for the next ones, and run in one go: at most
    `spacing_secs`, less if many wait, not at all if anyone waits for them.

    What a job raises is reported once per kind of error; the run continues. Jobs that
    are dropped, and what the last ones leave unwritten, are counted and reported at the
    end.

    Args:
      name: What the thread works for, in messages: `"the writer 'mine'"`.
      max_waiting: How many jobs may wait.
      may_drop: Whether a job beyond `max_waiting` is dropped (reported once) or waits.
      problems: Receives what fails or is lost.
      spacing_secs: Least time between the starts of two goes.
    """

    def __init__(
        self,
        name: str,
        *,
        max_waiting: int,
        may_drop: bool,
        problems: problem_log.Problems,
        spacing_secs: float = 0.0,
    ) -> None:
        self._name = name
        self._problems = problems
        self._max_waiting = max_waiting
        self._may_drop = may_drop
        self._spacing_secs = spacing_secs
        self._jobs: collections.deque[_Job] = collections.deque()
        self._num_unfinished = 0
        self._is_asleep = self._is_urgent = self._is_closed = False
        lock = threading.Lock()
        self._may_start = threading.Condition(lock)
        self._has_room = threading.Condition(lock)
        self._is_done = threading.Condition(lock)
        self._num_failed = self._num_dropped = 0
        self._may_be_written_later = True  # until something other than a disk fails
        # A daemon: a service that hangs cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"kauldron {name}", daemon=True
        )
        self._thread.start()

    def submit(
        self, job: Callable[[], object], *, within: Within | None = None
    ) -> None:
        """Adds a job.

        Args:
          job: Takes no arguments.
          within: Makes a context, in which jobs that name it run if they follow each
            other in one go. They are done when it is left.
        """
        if self._add(job, within, may_drop=self._may_drop):
            return
        self._num_dropped += 1
        if self._num_dropped == 1:
            console.warn(
                f"{self._name} is too slow: {self._max_waiting} writes wait for "
                "it, further ones are left out until it catches up. Training goes on."
            )

    def _add(
        self, job: Callable[[], object], within: Within | None, *, may_drop: bool
    ) -> bool:
        with self._has_room:
            while len(self._jobs) >= self._max_waiting:
                if may_drop:
                    return False
                self._has_room.wait()
            self._jobs.append((job, within))
            self._num_unfinished += 1
            if self._is_asleep or self._must_start():
                self._is_asleep = False
                self._may_start.notify()
            return True

    def hurry(self) -> None:
        """Has the waiting jobs run at once: somebody waits for one of them."""
        with self._may_start:
            self._is_urgent = True
            self._may_start.notify()

    def join(self, *, timeout_secs: float | None = None) -> bool:
        """Waits until everything submitted has run; returns whether it has."""
        self.hurry()
        with self._is_done:
            return self._is_done.wait_for(
                lambda: not self._num_unfinished, timeout_secs
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
                self._add(job, None, may_drop=False)
            left = None if end is None else max(end - time.monotonic(), 0.0)
            has_run = self.join(timeout_secs=left)
        if not has_run:
            num_lost = self._num_unfinished
            console.warn(
                f"{self._name} has not finished within {timeout_secs:g} s: "
                f"{num_lost} writes are lost."
            )
            return [f"has not finished: {num_lost} writes lost"]
        with self._may_start:
            self._is_closed = True
            self._may_start.notify()
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
        last_start = -self._spacing_secs
        while (number := self._wait_for_jobs(last_start + self._spacing_secs)) > 0:
            last_start = time.monotonic()
            self._go(number)

    def _wait_for_jobs(self, start: float) -> int:
        """Returns how many jobs are to be run in one go; 0 if no more will come."""
        with self._may_start:
            while not self._jobs:
                if self._is_closed:
                    return 0
                self._is_urgent = False
                self._is_asleep = True
                self._may_start.wait()
            self._is_asleep = False
            while not self._must_start() and (left := start - time.monotonic()) > 0:
                self._may_start.wait(left)
            self._is_urgent = False
            return len(self._jobs)

    def _must_start(self) -> bool:
        return self._is_urgent or 2 * len(self._jobs) >= self._max_waiting

    def _go(self, number: int) -> None:
        num_done, entered, context = 0, None, contextlib.ExitStack()
        for _ in range(number):
            job, within = self._take()
            if within != entered:  # what others have submitted stays in between
                self._try(context.close)
                self._finish_jobs(num_done)
                num_done, entered = 0, within
                if within is not None:
                    self._try(functools.partial(_enter, context, within))
            self._try(job)
            num_done += 1
            if within is None:
                self._finish_jobs(num_done)
                num_done = 0
        self._try(context.close)
        self._finish_jobs(num_done)

    def _take(self) -> _Job:
        with self._has_room:
            self._has_room.notify()
            return self._jobs.popleft()

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as e:
            self._report(e)

    def _finish_jobs(self, number: int) -> None:
        with self._is_done:
            self._num_unfinished -= number
            if not self._num_unfinished:
                self._is_done.notify_all()

    def _report(self, e: Exception) -> None:
        self._num_failed += 1
        for error in _attempts.each(e):
            self._may_be_written_later &= isinstance(error, OSError)
            self._problems.failed(self._name, error, consequence="; this stops nothing")


def _enter(context: contextlib.ExitStack, within: Within) -> None:
    context.enter_context(within())
