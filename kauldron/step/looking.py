"""One step with all that it knows, for looking at it: nothing is donated."""

from __future__ import annotations

from typing import Any

import jax

from kauldron import losses, sharding
from kauldron.data import utils as data_utils
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import intermediates, shared_programs, train_step
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

    def run(state: TrainState, batch: PyTree) -> tuple[TrainState, Context]:
        with intermediates.capture_all():
            return trainstep._whole_step(state, batch)

    # Traced each time, and compiled if that gives something new: whoever looks has
    # changed a function that the model calls, as often as not.
    with trainstep.sharding.set_global_mesh():
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return run(state, batch)
        return shared_programs.SharedJit(run)(state, batch)


def trace_step(
    trainstep: train_step.TrainStep,
    state: TrainState,
    batch: PyTree,
    is_halted: Any = None,
    **options: Any,
) -> None:
    """Follows a step as it will run; the first one that is made traces no more.

    Args:
      trainstep: The step.
      state: Specs.
      batch: Specs, with shardings.
      is_halted: A spec, or `None`; see `TrainStep.step`.
      **options: All other options of `TrainStep.step`.
    """
    replicated = trainstep.sharding.replicated

    def placed(spec: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        # What is placed nowhere in particular is on the same mesh in the end.
        return spec.update(sharding=replicated) if spec.sharding is None else spec

    specs = jax.tree.map(placed, (state, batch, is_halted))
    with trainstep.sharding.set_global_mesh():
        trainstep._jitted_step.trace(*specs, **options)


def step_specs(
    trainstep: train_step.TrainStep, state: TrainState, batch: PyTree
) -> Context:
    """Returns what there is in a step, as shapes and dtypes: nothing is computed.

    Gradients are as parameters are, which saves following the backward pass; unless the
    step is one that finds them in a way of its own.

    Args:
      trainstep: The step.
      state: Specs.
      batch: Specs.
    """
    plain = train_step.TrainStep
    names = ("_step", "compute_grads")
    is_own = any(getattr(type(trainstep), n) is not getattr(plain, n) for n in names)

    def run(state: TrainState, batch: PyTree) -> Context:
        if is_own:
            return trainstep._step(state, batch)[1]
        before = Context.from_state_and_batch(state=state, batch=batch)
        after = trainstep.forward(before, trainstep.rng_streams.train_rngs(before.step))
        total, states = losses.compute_losses(trainstep.aux.losses, after)
        after = after.replace(loss_states=states, loss_total=total)
        return trainstep.apply_grads(state, after, state.params)[1]

    with intermediates.capture_all():
        return jax.eval_shape(run, state, batch)
