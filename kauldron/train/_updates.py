"""The update loop: state, compilation, non-finite values."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from kauldron import sharding
from kauldron._base import console
from kauldron.recording import chrono as chrono_lib
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, looking
from kauldron.train import (
    _compilation_cache,
    _recompilation,
    _run_description,
    nan_guard,
)

_NO_CONTEXT = contextlib.nullcontext()


class Measurements(NamedTuple):
    """What a step has measured."""

    step: int
    aux: auxiliaries.AuxiliariesState
    is_logged: bool
    has_summaries: bool


class _Update(NamedTuple):
    """An update in flight."""

    step: int
    batch: Any
    measurements: Measurements


class Pace:
    """Keeps the host from running ahead of the devices by more than about a second.

    Steps are handed to the devices without waiting, and JAX lets many of them be under way
    (32 on a CPU): of slow ones, that would be minutes in which rates mean nothing and a
    signal to stop is not heard. Waiting once a second costs nothing that can be measured.

    Args:
      clock: Returns seconds; replaced in tests.
    """

    MAX_SECS = 1.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._together: float | None = None
        self._num_steps, self._most = 0, 1

    def keep(self, newest: Any) -> None:
        """Waits for the newest step, if there may be a second of work behind it.

        Call it before the next step, when all else is done: the devices then have
        something to do while batches are loaded.
        """
        self._num_steps += 1
        if self._num_steps < self._most:
            return
        jax.block_until_ready(newest)
        now = self._clock()
        if self._together is not None:
            secs_per_step = max(now - self._together, 1e-6) / self._num_steps
            # Slowly up: the first steps say little of those that follow.
            self._most = min(2 * self._most, max(int(self.MAX_SECS / secs_per_step), 1))
        self._together, self._num_steps = now, 0


class Updates:
    """Applies updates to the state of a run.

    With a `NanGuard` an update counts once the next one has been dispatched; only then
    are its measurements handed out. Else the devices are waited for once a second.

    Attributes:
      state: The state after the updates applied.
      latest_aux: What the newest update has measured.
    """

    def __init__(
        self,
        trainer: _run_description.RunDescription,
        state: TrainState,
        chrono: chrono_lib.Chrono,
        cache: _compilation_cache.Cache,
    ) -> None:
        self.state = state
        self.latest_aux: auxiliaries.AuxiliariesState | None = None
        self._cache = cache
        self._has_compiled = False
        self._trainer = trainer
        self._chrono = chrono
        self._watch = _recompilation.RecompilationWatch(trainer.trainstep)
        self._has_summaries = bool(trainer.train_summaries)
        self._pace = Pace()
        self._pending: deque[_Update] = deque()
        self._recovery = self._is_halted = None
        if trainer.nan_guard is not None:
            self._recovery = nan_guard.Recovery(trainer, trainer.nan_guard)
            self._is_halted = self._not_halted()

    def apply(self, step: int, batch: Any) -> list[Measurements]:
        """Applies the update `step` → `step + 1`; returns measurements to be logged."""
        measurements = self._call(step, batch)
        if self._recovery is None:
            return _to_log([measurements])
        self._pending.append(_Update(step, batch, measurements))
        return self._confirm(leave=1)

    def settle(self) -> list[Measurements]:
        """Makes sure that all updates have succeeded; returns the same as `apply`."""
        return self._confirm(leave=0)

    def _call(self, step: int, batch: Any) -> Measurements:
        trainer, before = self._trainer, self.state
        log_metrics = step % trainer.log_metrics_every == 0
        # Each combination is compiled: one without summaries to show is not another one.
        log_summaries = self._has_summaries and step % trainer.log_summaries_every == 0
        kind = (log_metrics, log_summaries)
        arguments = {
            "return_losses": log_metrics or log_summaries,
            "return_metrics": log_metrics,
            "return_summaries": log_summaries,
            "checkify_error_categories": trainer.checkify_error_categories,
        }
        if self._recovery is not None:
            # A `TrainStep.step` of the user's own need not know of the guard.
            arguments["is_halted"] = self._is_halted
        is_new = self._watch.is_new(kind)
        self._pace.keep(before.step)
        with self._compiling() if is_new else _NO_CONTEXT:
            self.state, aux = trainer.trainstep.step(before, batch, **arguments)
        self._watch.called(kind, state=before, batch=batch)
        self._is_halted, self.latest_aux = aux.is_halted, aux
        sharding.settle(self.state.step)
        self._chrono.finish_step()
        if trainer.checkify_error_categories:
            with sharding.allowing_transfers():
                aux.error.throw()
        return Measurements(step, aux, log_metrics or log_summaries, log_summaries)

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        """The first call of each kind compiles; that is excluded from the rate."""
        start, before = time.monotonic(), self._cache.used_here()
        with self._chrono.pause("compile"):
            yield
        if not self._has_compiled:
            self._has_compiled = True
            secs = time.monotonic() - start
            use = self._cache.used_here() - before
            if not looking.is_line_by_line():
                console.log(self._cache.describe(use, secs))

    def _confirm(self, *, leave: int) -> list[Measurements]:
        confirmed = []
        while len(self._pending) > leave:
            update = self._pending.popleft()
            confirmed.append(update.measurements)
            if sharding.to_host(update.measurements.aux.is_halted):
                self._recover(update)
        return _to_log(confirmed)

    def _recover(self, update: _Update) -> None:
        assert self._recovery is not None
        # The updates after it changed nothing: they are redone.
        again, self._pending = self._pending, deque()
        self.state = self._recovery.after(update.step, self.state, update.batch)
        self._is_halted = self._not_halted()
        for step, batch, _ in again:
            self._pending.append(_Update(step, batch, self._call(step, batch)))

    def _not_halted(self) -> jax.Array:
        return sharding.device_put(np.bool_(False), self._trainer.sharding.replicated)


def _to_log(measurements: list[Measurements]) -> list[Measurements]:
    return [m for m in measurements if m.is_logged]
