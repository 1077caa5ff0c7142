"""One step with all that it knows, for looking at it: nothing is donated."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from typing import Any

import jax

from kauldron import losses, sharding
from kauldron.data import utils as data_utils
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, intermediates, shared_programs, train_step
from kauldron.step.context import Context

# What was measured when a function was traced: JAX keeps the trace, and follows it no more.
_FOLLOWED: weakref.WeakKeyDictionary[
    shared_programs.SharedJit, dict[Hashable, Context]
] = weakref.WeakKeyDictionary()


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
        if is_line_by_line():
            return run(state, batch)
        return shared_programs.SharedJit(run)(state, batch)


def is_line_by_line() -> bool:
    """Whether functions run as Python does, and nothing is compiled."""
    config: Any = jax.config
    return config.jax_disable_jit


def trace_step(
    trainstep: train_step.TrainStep,
    state: TrainState,
    batch: PyTree,
    is_halted: Any = None,
    **options: Any,
) -> Context | None:
    """Follows a step as it will run; the first one that is made traces no more.

    Args:
      trainstep: The step.
      state: Specs.
      batch: Specs, with shardings.
      is_halted: A spec, or `None`; see `TrainStep.step`.
      **options: All other options of `TrainStep.step`.

    Returns:
      The specs of all that measurements were taken of; `None` if nothing was measured.
    """
    specs = _placed((state, batch, is_halted), trainstep.sharding)
    with trainstep.sharding.set_global_mesh():
        return _follow(trainstep._jitted_step, specs, options)


def trace_evaluation(
    jitted_step: shared_programs.SharedJit,
    state: TrainState,
    batch: PyTree,
    strategy: sharding.ShardingStrategy,
) -> Context | None:
    """Follows an evaluation as it will run; the first batch of such specs traces no more.

    Args:
      jitted_step: Of the number of a batch, the state and the batch.
      state: Specs.
      batch: Specs of the batch of one process.
      strategy: Where they will be.

    Returns:
      See `trace_step`.
    """
    batch = data_utils.get_global_elem_spec(batch, strategy.batch)
    batch = sharding.with_sharding_constraint(batch, strategy.batch)
    index = jax.ShapeDtypeStruct((), "int32")  # a number of the host is placed nowhere
    return _follow(jitted_step, (index, *_placed((state, batch), strategy)), {})


def _follow(
    jitted: shared_programs.SharedJit,
    specs: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Context | None:
    """Traces a function; returns the specs of what it measures."""
    with auxiliaries.noting_contexts() as noted:
        jitted.trace(*specs, **options)
    leaves, structure = jax.tree.flatten(specs)
    key = structure, tuple(leaves), tuple(options.items())
    contexts = _FOLLOWED.setdefault(jitted, {})
    if noted:
        contexts[key] = noted[-1]
    return contexts.get(key)


def _placed(specs: PyTree, strategy: sharding.ShardingStrategy) -> Any:
    """Returns specs with a sharding each.

    What is placed nowhere in particular is on the same mesh in the end.
    """

    def placed(spec: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        if spec.sharding is not None:
            return spec
        return spec.update(sharding=strategy.replicated)

    return jax.tree.map(placed, specs)


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
