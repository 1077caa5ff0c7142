"""One step with all that it knows, for looking at it: nothing is donated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from kauldron import sharding
from kauldron.data import utils as data_utils
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import intermediates, train_step
from kauldron.step.context import Context


def inputs_of(
    run: Any, state: TrainState | None, batch: PyTree
) -> tuple[TrainState, PyTree]:
    """Returns what a step of a run is looked at with, on devices.

    Args:
      run: A trainer.
      state: The initial one unless given.
      batch: The first one of `train_ds` unless given.
    """
    if batch is None:
        batch = next(iter(run.train_ds.take(1)))
    batch = sharding.device_put(data_utils.for_devices(batch), run.sharding.batch)
    return run.init_state() if state is None else state, batch


def step_context(
    trainstep: train_step.TrainStep, state: TrainState, batch: PyTree
) -> tuple[TrainState, Context]:
    """Applies one update; returns the next state, and everything there was in the step.

    Every gradient, update and intermediate is kept. Inside `jax.disable_jit()` it runs
    line by line.

    Args:
      trainstep: The step.
      state: State after `state.step` updates; can be used again.
      batch: Batch on devices.
    """
    with trainstep.sharding.set_global_mesh():
        return _jitted(trainstep)(state, batch)


@functools.lru_cache(maxsize=4)
def _jitted(trainstep: train_step.TrainStep) -> Callable[..., Any]:
    def run(state: TrainState, batch: PyTree) -> tuple[TrainState, Context]:
        with intermediates.capture_all():
            return trainstep._whole_step(state, batch)

    return jax.jit(run)
