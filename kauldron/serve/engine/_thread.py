"""The thread that owns the device: it takes requests in, visits, and gives pieces out."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

from kauldron.serve.engine import _sizes
from kauldron.serve.engine._jobs import Job
from kauldron.serve.engine._visits import Made, Visits
from kauldron.serve.engine._writer import AnswerWriter
from kauldron.serve.requests import FinishReason, Piece, ServiceError
from kauldron.serve.scheduling._schedule import Scheduler
from kauldron.serve.scheduling._sequences import Phase, Plan, QueueFullError, Sequence

# Seconds after which it is worth to ask again, at most: clients obey any number.
_MAX_RETRY_AFTER = 30.0
# Without a request, after which memory is given back: it is needed again for the next one.
_REST_SECS = 1.0


@dataclasses.dataclass
class Times:
    """What the thread has done so far.

    Attributes:
      visits: Of the device.
      device_secs: Seconds in which it waited for the device.
      host_secs: Seconds in which the device waited for it.
      requests: That came.
      answers: That ended.
      cancelled: Of these, the ones that nobody wanted any more.
      failed: Of these, the ones that ended with an error.
      completion_tokens: That were made.
    """

    visits: int = 0
    device_secs: float = 0.0
    host_secs: float = 0.0
    requests: int = 0
    answers: int = 0
    cancelled: int = 0
    failed: int = 0
    completion_tokens: int = 0


class _Call:
    """Something else to do, with pages of its own."""

    def __init__(self, function: Callable[[list[int]], Any], num_pages: int) -> None:
        self.function, self.num_pages = function, num_pages
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()


class EngineThread:
    """Answers requests until it is stopped, or fails.

    What belongs to one answer never ends the others: an answer that can't be written
    ends with `"error"`. What the device raises ends all.

    Attributes:
      failure: What ended the thread; `None` while it works.
      times: What it has done.
      scheduler: Who is next; use it under `lock`.
      lock: Of all that is here.
    """

    def __init__(self, scheduler: Scheduler, visits: Visits) -> None:
        self.failure: BaseException | None = None
        self.times = Times()
        self.scheduler = scheduler
        self.lock = threading.Condition()
        self._visits = visits
        self._writers: dict[Sequence, AnswerWriter] = {}
        self._jobs: dict[Sequence, Job] = {}
        self._cancelled: list[Job] = []
        self._calls: list[_Call] = []
        self._is_stopping = self._is_draining = False
        self._is_tidy = True  # whether nothing was done since memory was given back
        self._thread = threading.Thread(
            target=self._work, name="kauldron-engine", daemon=True
        )

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def submit(self, job: Job, *, waits: bool = False) -> None:
        """Takes a request.

        Args:
          job: The request.
          waits: Whether to wait while the queue is full.

        Raises:
          ServiceError: If the queue is full, or the engine has ended.
        """
        sequences = [writer.sequence for writer in job.writers]
        with self.lock:
            while True:
                self._check_open()
                try:
                    self.scheduler.add(sequences)
                    break
                except QueueFullError as error:
                    if not waits:
                        raise ServiceError(
                            f"The queue is full: {error}", retry_after=self._patience()
                        ) from None
                self.lock.wait()
            for writer in job.writers:
                self._writers[writer.sequence] = writer
                self._jobs[writer.sequence] = job
            self.times.requests += 1
            self.lock.notify_all()

    def cancel(self, job: Job) -> None:
        """Ends what is left of a request before the next visit of the device."""
        with self.lock:
            self._cancelled.append(job)
            self.lock.notify_all()

    def call(
        self, function: Callable[[list[int]], Any], num_pages: int
    ) -> concurrent.futures.Future[Any]:
        """Runs a function in the thread, between two visits; returns its future.

        Args:
          function: Takes pages that are its own until it returns.
          num_pages: How many.

        Raises:
          ServiceError: If the engine has ended.
        """
        call = _Call(function, num_pages)
        with self.lock:
            self._check_open()
            self._calls.append(call)
            self.lock.notify_all()
        return call.future

    def stop(self, *, drain: bool, timeout: float | None = None) -> bool:
        """Ends the thread; returns whether it has ended.

        Args:
          drain: Whether what was taken is answered before.
          timeout: Seconds to wait at most; then what is left is cancelled.
        """
        with self.lock:
            self._is_stopping, self._is_draining = True, drain
            self.lock.notify_all()
        if not self._thread.is_alive():
            return True
        self._thread.join(timeout)
        with self.lock:
            self._is_draining = False
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _check_open(self) -> None:
        if self.failure is not None:
            raise ServiceError(
                f"The engine has ended: {self.failure}"
            ) from self.failure
        if self._is_stopping:
            raise ServiceError("The engine is being shut down.")

    def _patience(self) -> float:
        """Returns after how many seconds there may be room in the queue."""
        times, num_answers = self.times, max(self.times.answers, 1)
        secs = (times.device_secs + times.host_secs) / num_answers
        return min(max(round(secs * len(self.scheduler.waiting)), 1), _MAX_RETRY_AFTER)

    # In the thread.

    def _work(self) -> None:
        try:
            while self._turn():
                pass
            failure: BaseException = ServiceError("The engine was shut down.")
            reason: FinishReason = "cancelled"
        except BaseException as error:
            failure, reason = error, "error"
        with self.lock:
            self.failure = failure
            for sequence in list(self._jobs):
                if reason == "error":
                    self._jobs[sequence].error = failure
                self._end(sequence, reason)
            for call in self._calls:
                if call.future.set_running_or_notify_cancel():
                    error = ServiceError(f"The engine has ended: {failure}")
                    call.future.set_exception(error)
            self._calls.clear()
            self.lock.notify_all()

    def _turn(self) -> bool:
        """Does what is next; returns whether there may be more."""
        with self.lock:
            call = self._calls.pop(0) if self._calls else None
        if call is not None:
            self._answer(call)
            self._is_tidy = False
        begin = time.perf_counter()
        with self.lock:
            plan = self._next_plan()
            if plan is None:
                if self._calls or self._cancelled:
                    return True
                if self._is_stopping:
                    return False
                if self.lock.wait(None if self._is_tidy else _REST_SECS):
                    return True
        if plan is None:
            _sizes.give_back_unused()
            self._is_tidy = True
            return True
        self._is_tidy = False
        made = self._visits.run(plan, self._writers)
        with self.lock:
            self._give_out(plan, made)
            self.lock.notify_all()
            self.times.visits += 1
            self.times.device_secs += made.device_secs
            self.times.host_secs += time.perf_counter() - begin - made.device_secs
        return True

    def _answer(self, call: _Call) -> None:
        if not call.future.set_running_or_notify_cancel():
            return
        with self.lock:
            pages = self.scheduler.borrow(call.num_pages)
        try:
            call.future.set_result(call.function(pages))
        except Exception as error:
            call.future.set_exception(error)
        finally:
            with self.lock:
                self.scheduler.give_back(pages)

    def _next_plan(self) -> Plan | None:
        for job in self._cancelled:
            for writer in job.writers:
                if writer.sequence in self._jobs:
                    self._end(writer.sequence, "cancelled")
        self._cancelled.clear()
        if self._is_stopping and not self._is_draining:
            return None
        for sequence in self.scheduler.expired(time.monotonic()):
            self._end(sequence, "deadline")
        return self.scheduler.plan()

    def _give_out(self, plan: Plan, made: Made) -> None:
        for sequence in self.scheduler.done(plan, made.tokens):
            job, writer = self._jobs[sequence], self._writers[sequence]
            num_top = job.request.sampling.logprobs
            try:
                logprobs = () if num_top is None else made.logprobs(sequence, num_top)
                piece = writer.take(made.tokens[sequence], logprobs)
            except Exception as error:
                job.error = error
                self._end(sequence, "error")
                continue
            self.times.completion_tokens += len(piece.tokens)
            if piece.finish_reason is not None:
                self._forget(sequence)
            self._deliver(job, piece)

    def _end(self, sequence: Sequence, reason: FinishReason) -> None:
        """Ends an answer where it is."""
        job, writer = self._jobs[sequence], self._writers[sequence]
        self._forget(sequence)
        self.times.cancelled += reason == "cancelled"
        self.times.failed += reason == "error"
        try:
            piece = writer.end(reason)
        except Exception as error:
            job.error = job.error or error
            piece = writer.abandon(reason)
        self._deliver(job, piece)

    def _deliver(self, job: Job, piece: Piece) -> None:
        try:
            job.deliver(piece)
        except Exception:
            # Nobody is there to take it: the event loop was closed.
            self._cancelled.append(job)

    def _forget(self, sequence: Sequence) -> None:
        self.scheduler.finish(sequence)
        assert sequence.phase is Phase.FINISHED
        del self._jobs[sequence], self._writers[sequence]
        self.times.answers += 1
