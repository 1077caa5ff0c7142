"""One step with all that it knows, for looking at it: nothing is donated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import intermediates, train_step
from kauldron.step.context import Context


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
