"""Batch building: in this thread, in a prefetch thread, or in worker processes.

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

from absl import logging

from kauldron.data import _thread_turns, _workers

Task = Callable[[int], Any]

# A thread hands over a batch in about 0.05 ms: cheaper batches are built on demand.
_MIN_SECS_FOR_THREAD = 0.5e-3
_NUM_BUILT_BEFORE_DECIDING = 4
_NUM_AHEAD = 2

# Processes are asked for if the consumer waits for the thread more than this.
_MIN_SHARE_OF_WAITING = 0.25
_NUM_BEFORE_PROCESSES = 20
_START_SECS = 3.0
_MAX_COPIED_BYTES = 2**28


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

    def after(self, number: int) -> Schedule:
        """Returns what is left after some tasks."""
        count = None if self.count is None else max(self.count - number, 0)
        first = self.first + number * self.step
        return Schedule(first=first, step=self.step, count=count)


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


def start(
    task: Task, schedule: Schedule, workers: _workers.WorkerOptions, *, num_bytes: int
) -> Runner:
    """Returns a runner.

    Args:
      task: Pickled if it goes to workers.
      schedule: What to run.
      workers: `num_workers=0` uses no processes, `None` chooses.
      num_bytes: Memory that each worker needs for its copy of the data.
    """
    if workers.num_workers:
        return _Processes(task, schedule, workers)
    may_use_processes = workers.num_workers is None and num_bytes <= _MAX_COPIED_BYTES
    return _Adaptive(task, schedule, workers if may_use_processes else None)


class _Adaptive(Runner):
    """Builds in the caller's thread, then ahead in a thread, then in processes.

    Each step is taken if batches take long, the last one if the consumer still waits.
    """

    def __init__(
        self, task: Task, schedule: Schedule, workers: _workers.WorkerOptions | None
    ) -> None:
        self._task = task
        self._workers = workers
        self._todo = schedule
        self._secs: list[float] = []
        self._thread: _Thread | None = None
        self._processes: Runner | None = None
        self._waits = _Waits()

    def next(self) -> Any:
        if self._thread is not None:
            return self._next_ahead(self._thread)
        if self._todo.count == 0:
            raise StopIteration
        begin = time.perf_counter()
        result = self._task(self._todo.first)
        self._todo = self._todo.after(1)
        if len(self._secs) < _NUM_BUILT_BEFORE_DECIDING:
            self._secs.append(time.perf_counter() - begin)
            if len(self._secs) == _NUM_BUILT_BEFORE_DECIDING:
                self._decide_on_thread()
        return result

    def close(self) -> None:
        for runner in (self._thread, self._processes):
            if runner is not None:
                runner.close()

    def _decide_on_thread(self) -> None:
        if min(self._secs) >= _MIN_SECS_FOR_THREAD:
            self._thread = _Thread(self._task, self._todo)

    def _next_ahead(self, thread: _Thread) -> Any:
        if self._processes is None and self._workers is not None:
            self._waits.begin()
        try:
            result = thread.next()
        except StopIteration:
            if self._processes is None:
                raise
            return self._processes.next()
        if self._processes is None and self._workers is not None:
            self._waits.end()
            if self._waits.num_batches == _NUM_BEFORE_PROCESSES:
                self._decide_on_processes(thread, self._workers)
        return result

    def _decide_on_processes(
        self, thread: _Thread, workers: _workers.WorkerOptions
    ) -> None:
        self._workers = None  # decided once
        if self._waits.share < _MIN_SHARE_OF_WAITING:
            return
        secs = min(self._secs)
        number = _workers.choose_num_workers(secs, self._waits.secs_between)
        if not number:
            return
        # The thread continues until the workers are up.
        num_meanwhile = _NUM_BEFORE_PROCESSES + round(_START_SECS / secs)
        border = thread.stop_after(num_meanwhile)
        if border is None or border.count == 0:
            return
        options = dataclasses.replace(workers, num_workers=number)
        try:
            self._processes = _Processes(self._task, border, options)
        except Exception as error:  # most often something cannot be pickled
            logging.info(
                "Batches are built in a thread: no worker processes: %s", error
            )
            self._processes = _Thread(self._task, border)


class _Waits:
    """How long a consumer waits, and what it does between."""

    def __init__(self) -> None:
        self.num_batches = 0
        self._waiting = 0.0
        self._begin = 0.0
        self._first: float | None = None
        self._last = 0.0

    def begin(self) -> None:
        self._begin = time.perf_counter()
        if self._first is None:
            self._first = self._begin

    def end(self) -> None:
        self._last = time.perf_counter()
        self._waiting += self._last - self._begin
        self.num_batches += 1

    @property
    def share(self) -> float:
        """Share of the time spent waiting."""
        return self._waiting / max(self._last - (self._first or 0.0), 1e-9)

    @property
    def secs_between(self) -> float:
        """Mean time between the end of one wait and the next."""
        elapsed = self._last - (self._first or 0.0)
        return (elapsed - self._waiting) / max(self.num_batches, 1)


class _Thread(Runner):
    """Builds a few batches ahead in one thread."""

    def __init__(self, task: Task, schedule: Schedule) -> None:
        self._results: queue.Queue = queue.Queue(maxsize=_NUM_AHEAD)
        self._builder = _Builder(task, schedule, self._results)
        # The thread must not refer to this object, or it would never be collected.
        self._thread = threading.Thread(
            target=self._builder.run, name="kauldron-data", daemon=True
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

    def stop_after(self, number: int) -> Schedule | None:
        """Makes this thread end after a few more batches; returns the rest."""
        return self._builder.stop_after(number)

    def close(self) -> None:
        self._error = self._error or StopIteration()
        self._builder.stopping.set()
        while not self._results.empty():  # wakes a thread that waits to hand over
            self._results.get_nowait()

    def __del__(self) -> None:
        self.close()


class _Builder:
    def __init__(self, task: Task, schedule: Schedule, results: queue.Queue) -> None:
        self.stopping = threading.Event()
        self._task = task
        self._todo = schedule
        self._results = results
        self._lock = threading.Lock()

    def run(self) -> None:
        _thread_turns.in_this_thread()
        while not self.stopping.is_set():
            with self._lock:
                todo = self._todo
                self._todo = todo.after(1)
            if todo.count == 0:
                self._results.put((None, StopIteration()))
                return
            try:
                result = self._task(todo.first)
            except BaseException as error:
                self._results.put((None, error))
                return
            self._results.put((result, None))

    def stop_after(self, number: int) -> Schedule | None:
        with self._lock:
            todo = self._todo
            if todo.count is not None and todo.count <= number:
                return None
            self._todo = dataclasses.replace(todo, count=number)
        return todo.after(number)


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
