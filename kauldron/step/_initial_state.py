"""Initialisation of the train state: parameters, collections, optimizer state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import jax
import jax.core
import jax.numpy as jnp

from kauldron import modules
from kauldron.data import utils as data_utils
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import _module_globs, module_errors, rngs_lib, shared_programs
from kauldron.step.context import Context


class _Step(Protocol):
    """What is asked of a training step."""

    @property
    def model(self) -> Any: ...
    @property
    def rng_streams(self) -> rngs_lib.RngStreams: ...
    @property
    def full_optimizer(self) -> Any: ...
    @property
    def _traced_inits(self) -> Any: ...
    def option(self, name: str) -> Any: ...
    def place(self, state: TrainState) -> TrainState: ...


def init_model(
    step: _Step, elem_spec: PyTree, model_method: str | Callable[..., Any] | None
) -> TrainState:
    """Returns a state with parameters and collections.

    Args:
      step: The training step.
      elem_spec: Spec of a batch.
      model_method: Method of the model that creates the parameters.
    """

    leaves, structure = jax.tree.flatten(elem_spec)
    key = (model_method, structure, *((tuple(x.shape), str(x.dtype)) for x in leaves))
    init = _kept_until_run(step, key, _model_init(step, elem_spec, model_method))
    return _jit_for_one_run(init)()


def _model_init(
    step: _Step, elem_spec: PyTree, model_method: str | Callable[..., Any] | None
) -> Callable[[], TrainState]:
    def init() -> TrainState:
        rngs = step.rng_streams.init_rngs()
        batch = data_utils.mock_batch_from_elem_spec(elem_spec)
        context = Context(step=jnp.zeros((), jnp.int32), batch=batch)
        args, kwargs = data_utils.get_model_inputs(step.model, context)
        with modules.set_train_property(True), _module_globs.record() as paths:
            try:
                initialize = functools.partial(
                    step.model.init, rngs, *args, method=model_method, **kwargs
                )
                try:
                    variables = initialize()
                except modules.IntermediateError:  # outputs that the model itself reads
                    variables = initialize(capture_intermediates=True, mutable=True)
            except Exception as e:
                module_errors.add_note(e)
                raise
        collections = dict(variables)
        params = collections.pop("params", {})
        collections.pop("intermediates", None)
        remat = step.option("remat")
        if remat is not None:
            remat.check_modules(paths)
        precision = step.option("precision")
        if precision is not None:
            precision.check_modules(paths)
            params = precision.cast_params(params, use="params")
        return step.place(
            TrainState(step=context.step, params=params, collections=collections)
        )

    return init


def init_optimizer(step: _Step, state: TrainState) -> TrainState:
    """Returns the state with that of the optimizer."""

    def init(state: TrainState) -> TrainState:
        opt_state = step.full_optimizer.init(state.params)
        return step.place(dataclasses.replace(state, opt_state=opt_state))

    return _jit_for_one_run(_kept_until_run(step, "optimizer", init))(state)


def _kept_until_run(
    step: _Step, key: Hashable, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Returns the function that stands for a key, or if there is none, this one.

    Checks ask for the specs of a state before it is made. JAX traces one function once.
    """
    if shared_programs.is_traced():
        return step._traced_inits.setdefault(key, function)
    return step._traced_inits.pop(key, function)


def _jit_for_one_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function whose compilation takes longer than its run.

    On a CPU the random numbers of an initial state take a quarter of the time to compile
    with most optimisations off, and are the same to the bit.
    """
    # Inside of another jit the options would have to be those of the outer one.
    if shared_programs.is_traced() or jax.default_backend() != "cpu":
        return shared_programs.SharedJit(function)
    if jax.config.values["jax_disable_most_optimizations"]:  # fewer than these
        return shared_programs.SharedJit(function)
    options = {"xla_backend_optimization_level": 1}
    return shared_programs.SharedJit(function, compiler_options=options)
