"""One training step: forward, losses, gradient, update, measurements."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.experimental import checkify

from kauldron import checkpoints, modules, sharding
from kauldron import losses as losses_lib
from kauldron.data import utils as data_utils
from kauldron.train import _finite, _interms, auxiliaries, rngs_lib
from kauldron.train.context import Context
from kauldron.train.state import TrainState
from kauldron.utils import config_util

__all__ = ["TrainState", "TrainStep", "forward", "forward_with_loss"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainStep(config_util.UpdateFromRootCfg):
    """Initialises the state and applies one update.

    Override `_step` for custom training; everything around it (jit, donation, sharding,
    checkify, which states leave the step) stays.

    Attributes:
      model: The Flax model.
      optimizer: The optax optimizer; `None` if the run only evaluates.
      rng_streams: Random streams.
      sharding: Placement of state, batch and measurements.
      init_transform: Changes the initial state, such as by loading a checkpoint.
      aux: Losses, metrics and summaries.
    """

    model: Any = config_util.ROOT_CFG_REF.model
    optimizer: Any = config_util.ROOT_CFG_REF.optimizer
    rng_streams: rngs_lib.RngStreams = config_util.ROOT_CFG_REF.rng_streams
    sharding: sharding.ShardingStrategy = config_util.ROOT_CFG_REF.sharding
    init_transform: checkpoints.InitTransform = config_util.ROOT_CFG_REF.init_transform
    aux: auxiliaries.Auxiliaries = dataclasses.field(
        default_factory=auxiliaries.Auxiliaries
    )

    def init(
        self,
        elem_spec: Any,
        *,
        model_method: str | Callable[..., Any] | None = None,
        skip_transforms: bool = False,
        skip_optimizer: bool = False,
    ) -> TrainState:
        """Returns the state before the first step.

        Args:
          elem_spec: Spec of a batch, a pytree of anything with `shape` and `dtype`.
          model_method: Method of the model that creates the parameters; `__call__`
            unless given.
          skip_transforms: Whether to leave out `init_transform`.
          skip_optimizer: Whether to leave out the optimizer state.
        """
        state = self._init_model(elem_spec, model_method)
        if not skip_transforms:
            state = self._place(self.init_transform.transform(state))
        if self.optimizer is not None and not skip_optimizer:
            state = self._init_optimizer(state)
        if not skip_transforms:
            state = self._place(self.init_transform.transform_after_optimizer(state))
        return state

    def step(
        self,
        state: TrainState,
        batch: Any,
        *,
        return_losses: bool = False,
        return_metrics: bool = False,
        return_summaries: bool = False,
        checkify_error_categories: frozenset[Any] = frozenset(),
        is_halted: jax.Array | None = None,
    ) -> tuple[TrainState, auxiliaries.AuxiliariesState]:
        """Applies one update. The arrays of `state` are donated: don't use them again.

        Args:
          state: State after `state.step` updates.
          batch: Batch on devices.
          return_losses: Whether the loss states are returned, `metrics` and `summaries`
            likewise. What is not returned is not computed.
          checkify_error_categories: Errors to look for inside the step; they come back
            in `aux.error`.
          is_halted: `bool[]`, whether an earlier step met a value that is not finite.
            Then this one changes nothing, and neither does one that meets such a value
            itself: the state comes back as it was, and `aux.is_halted` is true. `None`
            looks for nothing.

        Returns:
          The next state, and the selected measurements. They are of this batch and of
          the parameters before the update.
        """
        with self.sharding.set_global_mesh():
            return self._jitted_step(
                state,
                batch,
                is_halted,
                return_losses=return_losses,
                return_metrics=return_metrics,
                return_summaries=return_summaries,
                checkify_error_categories=checkify_error_categories,
            )

    def _step(self, state: TrainState, batch: Any) -> tuple[TrainState, Context]:
        """One update, to override: returns the next state and the filled context."""
        context = Context.from_state_and_batch(state=state, batch=batch)
        aux = self.aux

        def loss_fn(params: Any) -> tuple[jax.Array, Context]:
            return forward_with_loss(
                dataclasses.replace(context, params=params),
                model=self.model,
                losses=aux.losses,
                rngs=self.rng_streams.train_rngs(state.step),
                is_training=True,
                capture=_interms.captured_by(aux.losses, aux.metrics, aux.summaries),
            )

        grads, context = jax.grad(loss_fn, has_aux=True, allow_int=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        next_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            collections=context.collections,
            opt_state=opt_state,
        )
        context = dataclasses.replace(
            context, params=state.params, grads=grads, updates=updates
        )
        return next_state, self.aux.update_context(context)

    def _traced_step(
        self,
        state: TrainState,
        batch: Any,
        is_halted: jax.Array | None,
        *,
        return_losses: bool,
        return_metrics: bool,
        return_summaries: bool,
        checkify_error_categories: frozenset[Any],
    ) -> tuple[TrainState, auxiliaries.AuxiliariesState]:
        error, before = None, state
        if checkify_error_categories:
            step = checkify.checkify(self._step, errors=checkify_error_categories)
            error, (state, context) = step(state, batch)
        else:
            state, context = self._step(state, batch)
        aux = context.get_aux_state(
            return_losses=return_losses,
            return_metrics=return_metrics,
            return_summaries=return_summaries,
        )
        aux = sharding.with_sharding_constraint(aux, self.sharding.aux)
        if is_halted is not None:
            is_bad = is_halted | ~_finite.is_finite_step(context, state)
            is_halted = sharding.with_sharding_constraint(is_bad, sharding.REPLICATED)
            state = _finite.select(is_bad, before, state)
        aux = dataclasses.replace(aux, error=error, is_halted=is_halted)
        return self._place(state), aux

    # One compilation cache an object: it goes away with the object.
    @functools.cached_property
    def _jitted_step(self) -> Callable[..., Any]:
        return jax.jit(
            self._traced_step,
            donate_argnames=("state",),
            static_argnames=(
                "return_losses",
                "return_metrics",
                "return_summaries",
                "checkify_error_categories",
            ),
        )

    def _init_model(self, elem_spec: Any, model_method: Any) -> TrainState:
        @jax.jit
        def init() -> TrainState:
            rngs = self.rng_streams.init_rngs()
            batch = data_utils.mock_batch_from_elem_spec(elem_spec)
            context = Context(step=jnp.zeros((), jnp.int32), batch=batch)
            args, kwargs = data_utils.get_model_inputs(self.model, context)
            with modules.set_train_property(True):
                variables = self.model.init(rngs, *args, method=model_method, **kwargs)
            collections = dict(variables)
            params = collections.pop("params", {})
            collections.pop("intermediates", None)
            return self._place(
                TrainState(step=context.step, params=params, collections=collections)
            )

        return init()

    def _init_optimizer(self, state: TrainState) -> TrainState:
        @jax.jit
        def init(state: TrainState) -> TrainState:
            opt_state = self.optimizer.init(state.params)
            return self._place(dataclasses.replace(state, opt_state=opt_state))

        return init(state)

    def _place(self, state: TrainState) -> TrainState:
        return sharding.with_sharding_constraint(state, self.sharding.state)


def forward(
    context: Context,
    *,
    model: Any,
    rngs: Mapping[str, jax.Array],
    is_training: bool,
    method: str | Callable[..., Any] | None = None,
    capture: _interms.Capture = True,
) -> Context:
    """Runs the model on the values its keys point to.

    Args:
      context: With `batch`, `params` and `collections`.
      model: Flax module.
      rngs: Keys by stream name.
      is_training: Value of the train property.
      method: Method of the model to call; `__call__` unless given.
      capture: Which outputs of modules become `interms`, see `nn.Module.apply`; all
        unless given.

    Returns:
      The context with `preds`, `interms` and the new `collections`.
    """
    args, kwargs = data_utils.get_model_inputs(model, context)
    with modules.set_train_property(is_training):
        preds, variables = model.apply(
            {"params": context.params, **(context.collections or {})},
            *args,
            rngs=rngs,
            method=method,
            mutable=True,
            capture_intermediates=capture,
            **kwargs,
        )
    collections = dict(variables)
    interms = collections.pop("intermediates", {})
    collections.pop("params", None)  # a forward pass does not change parameters
    return dataclasses.replace(
        context, preds=preds, interms=interms, collections=collections
    )


def forward_with_loss(
    context: Context,
    *,
    model: Any,
    losses: Mapping[str, losses_lib.Loss],
    rngs: Mapping[str, jax.Array],
    is_training: bool,
    capture: _interms.Capture = True,
) -> tuple[jax.Array, Context]:
    """Runs the model and the losses; for the arguments, see `forward`.

    Returns:
      The sum of the weighted losses (`f32[]`), and the context with `loss_states` and
      `loss_total` as well.
    """
    context = forward(
        context, model=model, rngs=rngs, is_training=is_training, capture=capture
    )
    total, states = losses_lib.compute_losses(losses, context)
    return total, dataclasses.replace(context, loss_states=states, loss_total=total)
