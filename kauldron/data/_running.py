"""Who builds the batches: this thread, a thread ahead of it, or worker processes.

All three run `task(start)` for `start = first, first + step, ...` and hand out the
results in that order, so which one it is never changes the data.
"""

from __future__ import annotations

import abc
import dataclasses
import queue
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any

from kauldron.data import _workers

Task = Callable[[int], Any]

# A thread hands over a batch in about 0.05 ms: cheaper batches are built on demand.
_MIN_SECS_FOR_THREAD = 0.5e-3
_NUM_BUILT_BEFORE_DECIDING = 4
_NUM_AHEAD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which tasks are run.

    Attributes:
      first: First argument of the task.
      step: From one argument to the next.
      count: Number of tasks; `None` if endless.
    """

    first: int
    step: int
    count: int | None


class Runner(abc.ABC):
    """Results of tasks, in order."""

    @abc.abstractmethod
    def next(self) -> Any:
        """Returns the next result, or raises what the task raised.

        Raises:
          StopIteration: After the last one.
        """

    def close(self) -> None:  # noqa: B027 (some have nothing to end)
        """Ends threads and processes."""


def start(task: Task, schedule: Schedule, *, workers: _workers.WorkerOptions) -> Runner:
    """Returns a runner; `num_workers=0` uses no processes."""
    if workers.num_workers:
        return _Processes(task, schedule, workers)
    return _OnDemand(task, schedule)


class _OnDemand(Runner):
    """Builds in the caller's thread, and turns to a thread if that takes long."""

    def __init__(self, task: Task, schedule: Schedule) -> None:
        self._task = task
        self._schedule = schedule
        self._num_done = 0
        self._secs: list[float] = []
        self._ahead: _Thread | None = None

    def next(self) -> Any:
        if self._ahead is not None:
            return self._ahead.next()
        schedule = self._schedule
        if schedule.count is not None and self._num_done >= schedule.count:
            raise StopIteration
        begin = time.perf_counter()
        result = self._task(schedule.first + self._num_done * schedule.step)
        self._num_done += 1
        if len(self._secs) < _NUM_BUILT_BEFORE_DECIDING:
            self._secs.append(time.perf_counter() - begin)
            if len(self._secs) == _NUM_BUILT_BEFORE_DECIDING:
                self._decide()
        return result

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()

    def _decide(self) -> None:
        if min(self._secs) < _MIN_SECS_FOR_THREAD:
            return
        rest = self._schedule
        count = None if rest.count is None else rest.count - self._num_done
        first = rest.first + self._num_done * rest.step
        self._ahead = _Thread(
            self._task, Schedule(first=first, step=rest.step, count=count)
        )


class _Thread(Runner):
    """Builds a few batches ahead in one thread."""

    def __init__(self, task: Task, schedule: Schedule) -> None:
        self._results: queue.Queue = queue.Queue(maxsize=_NUM_AHEAD)
        self._stop = threading.Event()
        # The thread must not refer to this object, or it would never be collected.
        self._thread = threading.Thread(
            target=_build_ahead,
            args=(task, schedule, self._results, self._stop),
            name="kauldron-data",
            daemon=True,
        )
        self._thread.start()
        self._error: BaseException | None = None

    def next(self) -> Any:
        if self._error is not None:
            raise self._error
        result, error = self._results.get()
        if error is not None:
            self._error = error
            raise error
        return result

    def close(self) -> None:
        self._error = self._error or StopIteration()
        self._stop.set()
        while not self._results.empty():  # wakes a thread that waits to hand over
            self._results.get_nowait()

    def __del__(self) -> None:
        self.close()


def _build_ahead(
    task: Task, schedule: Schedule, results: queue.Queue, stop: threading.Event
) -> None:
    num_done = 0
    while not stop.is_set():
        if schedule.count is not None and num_done >= schedule.count:
            results.put((None, StopIteration()))
            return
        try:
            result = task(schedule.first + num_done * schedule.step)
        except BaseException as error:
            results.put((None, error))
            return
        results.put((result, None))
        num_done += 1


class _Processes(Runner):
    """Builds in worker processes."""

    def __init__(
        self, task: Task, schedule: Schedule, options: _workers.WorkerOptions
    ) -> None:
        self._iterator = _workers.start(
            _Tasks(task, schedule.first, schedule.step), schedule.count, options
        )
        # Also at exit, before the modules that closing needs are gone.
        self.close = weakref.finalize(self, self._iterator.close)

    def next(self) -> Any:
        result = next(self._iterator)
        if isinstance(result, _Failure):
            result.error.add_note(f"In a worker process:\n{result.where}")
            raise result.error
        return result


@dataclasses.dataclass
class _Failure:
    """An error on its way out of a worker; grain would lose its notes."""

    error: BaseException
    where: str


@dataclasses.dataclass
class _Tasks:
    task: Task
    first: int
    step: int

    def __call__(self, number: int) -> Any:
        try:
            return self.task(self.first + number * self.step)
        except Exception as error:
            return _Failure(error.with_traceback(None), traceback.format_exc())
