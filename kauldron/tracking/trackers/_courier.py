"""`Courier`: brings what happens in a run to others, however they are, in the background."""

from __future__ import annotations

import collections
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from kauldron._base import console, problem_log
from kauldron.tracking.publishers import _events as events

MAX_WAITING = 10_000
_MAX_AT_ONCE = 1000
# Between two deliveries: a step every few ms must not make a request each.
_PAUSE_SECS = 0.5
_FIRST_RETRY_SECS = 0.5
_LAST_RETRY_SECS = 30.0
# At the end of a run: for whom takes what it is given, and for whom does not.
PATIENCE_SECS = 60.0
_PATIENCE_IF_GONE_SECS = 5.0


class Receiver(Protocol):
    """Who is brought something."""

    def deliver(self, waiting: Sequence[events.Event]) -> int:
        """Takes the first of several events, or the first few; returns how many.

        Raises:
          OSError: If it cannot be reached now. The same events are brought again.
          Exception: If it will never take the first one, which is then left out.
        """
        ...

    def catch_up(self, missed: Mapping[str, int]) -> bool:
        """Gets what did not wait in memory from the files of the run.

        Args:
          missed: Collection -> newest step that did not wait.

        Returns:
          Whether it has all: otherwise it is called again after a while.

        Raises:
          OSError: If it cannot be reached now.
          LookupError: If there are no such files.
        """
        ...

    def close(self) -> None:
        """Ends connections."""


class _Missed:
    """Stands in the queue for measurements that did not wait in it."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}  # collection -> newest
        self.count = 0
        self.is_open = True  # until its turn comes

    def add(self, event: events.Event) -> None:
        self.steps[event.collection] = event.step
        self.count += 1


class Courier:
    """A thread, and the events that wait for it; nobody ever waits for the thread.

    Up to 10,000 measurements wait in memory while the receiver is gone; those beyond are
    taken from the files of the run when it is back.

    Args:
      name: Of the receiver, in messages: `the tracker 'mlflow'`.
      receiver: Who gets them.
      problems: Is told what is not delivered at the end.
      pause_secs: Between two deliveries.
      max_waiting: How many measurements wait in memory.
    """

    def __init__(
        self,
        name: str,
        receiver: Receiver,
        *,
        problems: problem_log.Problems | None = None,
        pause_secs: float = _PAUSE_SECS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._name = name
        self._receiver = receiver
        self._problems = problems or problem_log.Problems()
        self._pause_secs = pause_secs
        self._max_waiting = max_waiting
        self._waiting: collections.deque[events.Event | _Missed] = collections.deque()
        self._last_missed: _Missed | None = None
        self._changed = threading.Condition()
        self._retry_secs = 0.0  # 0 while the receiver takes what it is given
        self._is_hurried = self._is_closing = self._has_given_up = False
        self._has_reported = False
        self._gone_secs = _PATIENCE_IF_GONE_SECS
        # A daemon: a service that hangs cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"kauldron {name}", daemon=True
        )
        self._thread.start()

    @property
    def num_undelivered(self) -> int:
        """How many events the receiver does not have."""
        with self._changed:
            return sum(x.count if isinstance(x, _Missed) else 1 for x in self._waiting)

    def put(self, event: events.Event) -> None:
        """Adds an event; never waits, and never raises."""
        is_measured = event.kind in ("metric", "evaluation")
        with self._changed:
            missed = self._last_missed
            if is_measured and missed is not None and missed.is_open:
                missed.add(event)  # to be caught up with what was missed before it
                return
            if is_measured and len(self._waiting) >= self._max_waiting:
                missed = self._last_missed = _Missed()
                missed.add(event)
                self._waiting.append(missed)
                return
            self._waiting.append(event)
            if len(self._waiting) == 1:
                self._changed.notify()

    def flush(self, *, patience_secs: float = PATIENCE_SECS) -> None:
        """Waits until all is delivered, not long if the receiver is gone; reports it.

        Args:
          patience_secs: How long to wait for a receiver that takes what it is given.
        """
        self._hurry(patience_secs, lambda: not self._waiting)
        self._report()

    def close(self, *, patience_secs: float = PATIENCE_SECS) -> bool:
        """Delivers what waits and ends the thread; returns whether all is delivered.

        Args:
          patience_secs: How long to wait for a receiver that takes what it is given.
        """
        with self._changed:
            self._is_closing = True
        self._hurry(patience_secs, lambda: not self._thread.is_alive())
        with self._changed:
            self._has_given_up = True
            self._changed.notify()
        return self._report()

    def _hurry(self, patience_secs: float, is_over: Callable[[], bool]) -> None:
        """Has everything delivered now; what fails for long is not waited for again."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify()
        start = gone_since = time.monotonic()
        while not is_over():
            time.sleep(0.01)
            now = time.monotonic()
            gone_since = gone_since if self._retry_secs else now
            if now - start > patience_secs or now - gone_since > self._gone_secs:
                self._gone_secs = 0.5
                return

    def _report(self) -> bool:
        num = self.num_undelivered
        if num:
            self._problems.state(
                self._name,
                f"has not taken {num:,} events: the next start of the run brings what is "
                "in its files, as does `kauldron runs deliver WORKDIR`",
            )
            self._has_reported = True
        elif self._has_reported:
            self._problems.state(self._name, None)
        return not num

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._deliver()
                self._note_back()
            except OSError as e:
                self._note_gone(e)
            except Exception as e:  # it will never take it
                self._leave_out(e)
        self._receiver.close()

    def _wait_for_work(self) -> bool:
        """Waits until something is to be done; returns whether anything is."""
        with self._changed:
            if self._retry_secs:
                most = _FIRST_RETRY_SECS if self._is_hurried else _LAST_RETRY_SECS
                self._changed.wait(min(self._retry_secs, most))
            while not (self._waiting or self._is_closing):
                self._changed.wait()
            if not (self._is_hurried or self._retry_secs):
                self._changed.wait(self._pause_secs)  # more may come
            return bool(self._waiting) and not self._has_given_up

    def _deliver(self) -> None:
        with self._changed:
            head = self._waiting[0]
            if isinstance(head, _Missed):
                head.is_open = False
            upcoming = list(itertools.islice(self._waiting, _MAX_AT_ONCE))
        if isinstance(head, _Missed):
            if not self._catch_up(head):
                return
            num = 1
        else:
            before = itertools.takewhile(lambda x: not isinstance(x, _Missed), upcoming)
            num = self._receiver.deliver(cast(list[events.Event], list(before)))
        with self._changed:
            for _ in range(num):
                self._waiting.popleft()

    def _catch_up(self, missed: _Missed) -> bool:
        """Returns whether nothing more can be got."""
        try:
            has_all = self._receiver.catch_up(missed.steps)
            if not has_all and not self._is_hurried:
                return False  # who writes the files is behind
            lost = "" if has_all else "the files of the run do not have them"
        except LookupError as e:
            lost = str(e)
        if lost:
            fact = f"has lost up to {missed.count:,} measurements: {lost}"
            self._problems.state(self._name, fact)
        return True

    def _note_gone(self, error: OSError) -> None:
        if not self._retry_secs:
            told = str(error).splitlines() or [type(error).__name__]
            console.warn(
                f"{self._name} takes nothing: {told[0]} The training goes on; what is "
                "missed is written when it is back."
            )
        self._retry_secs = min(
            max(2 * self._retry_secs, _FIRST_RETRY_SECS), _LAST_RETRY_SECS
        )

    def _note_back(self) -> None:
        if self._retry_secs:
            console.log(f"{self._name} is back.")
        self._retry_secs = 0.0

    def _leave_out(self, error: Exception) -> None:
        with self._changed:
            self._waiting.popleft()
        self._problems.failed(self._name, error, consequence="; this stops nothing")
