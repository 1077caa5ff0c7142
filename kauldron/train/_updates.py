"""The update loop: state, compilation, non-finite values."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kauldron import sharding
from kauldron._base import console
from kauldron.data import utils as data_utils
from kauldron.recording import chrono as chrono_lib
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, looking, state_trees, train_step
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


class FirstStep:
    """The program of the first step, and what is said of its compilation.

    Args:
      cache: Where programs are kept.
    """

    def __init__(self, cache: _compilation_cache.Cache) -> None:
        self._cache = cache
        self._use = _compilation_cache.CacheUse()
        self._secs = 0.0
        self._thread: threading.Thread | None = None

    def compile_beside(
        self, trainer: _run_description.RunDescription, step: int
    ) -> None:
        """Compiles it in a thread, while the state is made or restored.

        What fails here, or is for other arguments in the end, is compiled when the step is
        called, which raises what is wrong. If the run ends before, XLA cannot be
        stopped: Python waits for it at exit.

        Args:
          trainer: The run.
          step: The step.
        """
        if jax.process_count() > 1:  # they compile in turn, all in the same order
            return
        start = time.monotonic()
        # With the settings of this thread; XLA alone runs beside it.
        if (lowered := self._lower(trainer, step)) is not None:
            self._secs = time.monotonic() - start
            self._thread = threading.Thread(
                target=self._compile, args=[lowered, trainer.logged_schedules, step]
            )
            self._thread.start()

    def _lower(
        self, trainer: _run_description.RunDescription, step: int
    ) -> jax.stages.Lowered | None:
        trainstep: Any = trainer.trainstep
        if type(trainstep).step is not train_step.TrainStep.step:
            return None
        try:
            batch = data_utils.batch_specs(trainer.train_ds.element_spec)
            specs = looking.specs_of(trainer, batch)
            options = _step_options(trainer, step)
            return looking.lower_step(trainstep, *specs, **options)
        except Exception:
            return None

    def _compile(
        self, lowered: jax.stages.Lowered, schedules: Mapping[str, Any], step: int
    ) -> None:
        start, before = time.monotonic(), self._cache.used_here()
        with contextlib.suppress(Exception):
            lowered.compile()
        self._use = self._cache.used_here() - before
        self._secs += time.monotonic() - start
        # The first line of the log needs their values: these compile them.
        state_trees.values_at_step(schedules, step, [])

    def wait(self) -> None:
        """Waits until it is compiled, or could not be."""
        if self._thread is not None:
            self._thread.join()

    @contextlib.contextmanager
    def called(self) -> Iterator[None]:
        """Inside the block, the step is called, and compiled if it is not yet."""
        self.wait()
        start, before = time.monotonic(), self._cache.used_here()
        yield
        secs = self._secs + time.monotonic() - start
        use = self._use + self._cache.used_here() - before
        console.log(self._cache.describe(use, secs))


def _step_options(
    trainer: _run_description.RunDescription, step: int
) -> dict[str, Any]:
    """Returns the options of `TrainStep.step` at a step; each combination is compiled."""
    log_metrics = step % trainer.log_metrics_every == 0
    # One without summaries to show is not another one.
    log_summaries = (
        bool(trainer.train_summaries) and step % trainer.log_summaries_every == 0
    )
    return {
        "return_losses": log_metrics or log_summaries,
        "return_metrics": log_metrics,
        "return_summaries": log_summaries,
        "checkify_error_categories": trainer.checkify_error_categories,
    }


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
        first: FirstStep,
    ) -> None:
        self.state = state
        self.latest_aux: auxiliaries.AuxiliariesState | None = None
        self._first: FirstStep | None = first
        self._trainer = trainer
        self._chrono = chrono
        self._watch = _recompilation.RecompilationWatch(trainer.trainstep)
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
        arguments = _step_options(trainer, step)
        is_logged = arguments["return_losses"]
        has_summaries = arguments["return_summaries"]
        kind = (arguments["return_metrics"], has_summaries)
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
        return Measurements(step, aux, is_logged, has_summaries)

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        """The first call of each kind compiles; that is excluded from the rate."""
        first, self._first = self._first, None
        with self._chrono.pause("compile"), first.called() if first else _NO_CONTEXT:
            yield

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
