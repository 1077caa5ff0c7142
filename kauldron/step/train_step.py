"""One training step: forward, losses, gradient, update, measurements."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.core
import optax
from jax.experimental import checkify

from kauldron import checkpoints, sharding
from kauldron import losses as losses_lib
from kauldron._base import deprecation, root_refs
from kauldron.ktyping import Bool, PRNGKeyArray, PyTree, ScalarInt
from kauldron.sharding import TrainState
from kauldron.step import (
    _f32_sums,
    _held_step,
    _initial_state,
    _loss_scale,
    _optimizer_args,
    _step_options,
    accumulation,
    auxiliaries,
    finiteness,
    intermediates,
    mixed_precision,
    packed_states,
    rematerialization,
    rngs_lib,
    shared_programs,
    step_inputs,
)
from kauldron.step._forward import forward, forward_with_loss
from kauldron.step.context import Context

__all__ = ["TrainState", "TrainStep", "forward", "forward_with_loss"]


@deprecation.rename_methods(
    {
        "_init_model": "init_model",
        "_forward": "forward",
        "_compute_grads": "compute_grads",
        "_apply_grads": "apply_grads",
    },
    removed_in="0.3",
)
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainStep(root_refs.UpdateFromRootCfg):
    """Initialises the state and applies one update.

    For custom training, override the piece that differs; everything around it (jit,
    donation, sharding, checkify, which states leave the step) stays. From the inside out:
    `forward` runs the model on a (micro-)batch, `compute_grads` takes the gradient of
    the losses, `apply_grads` updates the state, and `_step` is the two after each other.

    Attributes:
      model: The Flax model.
      optimizer: The optax optimizer; `None` if the run only evaluates.
      rng_streams: Random streams.
      sharding: Placement of state, batch and measurements.
      init_transform: Changes the initial state, such as by loading a checkpoint.
      aux: Losses, metrics and summaries.
      precision: Dtypes of the model; `None` leaves them to the model.
      remat: What is computed again for gradients; `None` for nothing.
      grad_accum_steps: In how many micro-batches a batch is split.
    """

    model: Any = root_refs.ROOT_CFG_REF.model
    optimizer: Any = root_refs.ROOT_CFG_REF.optimizer
    rng_streams: rngs_lib.RngStreams = root_refs.ROOT_CFG_REF.rng_streams
    sharding: sharding.ShardingStrategy = root_refs.ROOT_CFG_REF.sharding
    init_transform: checkpoints.InitTransform = root_refs.ROOT_CFG_REF.init_transform
    aux: auxiliaries.Auxiliaries = dataclasses.field(
        default_factory=auxiliaries.Auxiliaries
    )
    precision: mixed_precision.Precision | None = root_refs.ROOT_CFG_REF.precision
    remat: rematerialization.Remat | None = root_refs.ROOT_CFG_REF.remat
    grad_accum_steps: int = root_refs.ROOT_CFG_REF.grad_accum_steps

    def init(
        self,
        elem_spec: PyTree,
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
        state = self.init_model(elem_spec, model_method)
        if not skip_transforms:
            state = self.place(self.init_transform.transform(state))
        if self.optimizer is not None and not skip_optimizer:
            state = self.init_optimizer(state)
        if not skip_transforms:
            state = self.place(self.init_transform.transform_after_optimizer(state))
        return state

    def step(
        self,
        state: TrainState,
        batch: PyTree,
        *,
        return_losses: bool = False,
        return_metrics: bool = False,
        return_summaries: bool = False,
        checkify_error_categories: frozenset[Any] = frozenset(),
        is_halted: Bool[""] | None = None,
    ) -> tuple[TrainState, auxiliaries.AuxiliariesState]:
        """Applies one update. The arrays of `state` are donated: don't use them again.

        Args:
          state: State after `state.step` updates.
          batch: Batch on devices.
          return_losses: Whether the loss states are returned, `metrics` and `summaries`
            likewise. What is not returned is not computed.
          checkify_error_categories: Errors to look for inside the step; they come back
            in `aux.error`.
          is_halted: `Bool[""]`, whether an earlier step met a value that is not finite.
            If so, this step changes nothing, and neither does a step that meets such a
            value itself: the state is returned unchanged, and `aux.is_halted` is true.
            `None` disables the check.

        Returns:
          The next state, and the selected measurements. They are of this batch and of
          the parameters before the update.
        """
        check_state(state)
        options = {
            "return_losses": return_losses,
            "return_metrics": return_metrics,
            "return_summaries": return_summaries,
            "checkify_error_categories": checkify_error_categories,
        }
        run = self._jitted_step
        with self.sharding.set_global_mesh():
            try:
                state, packed, others = run(state, batch, is_halted, **options)
            except Exception:
                step_inputs.check_batch(batch)
                raise
        return state, auxiliaries.AuxiliariesState.unpack(packed, **others)

    def _step(self, state: TrainState, batch: PyTree) -> tuple[TrainState, Context]:
        """One update: returns the next state and the filled context."""
        context = Context.from_state_and_batch(state=state, batch=batch)
        result = self.compute_grads(context)
        if type(self) is not TrainStep:
            _step_options.check_pair(self, "compute_grads", "gradients", result)
        grads, context = result
        return self.apply_grads(state, context, grads)

    def forward(
        self, context: Context, rngs: Mapping[str, PRNGKeyArray[""]]
    ) -> Context:
        """Runs the model on a (micro-)batch; returns a context with what losses read.

        It is differentiated with respect to `context.params`. Losses, metrics
        and summaries can access by key whatever an override adds to `preds` or `batch`.
        """
        precision, remat = self._use("precision", "remat")
        aux = self.aux
        return forward(
            context,
            model=self.model,
            rngs=rngs,
            is_training=True,
            capture=intermediates.captured_by(aux.losses, aux.metrics, aux.summaries),
            precision=precision,
            remat=remat,
        )

    def compute_grads(self, context: Context) -> tuple[PyTree, Context]:
        """Returns the gradient of the losses on the batch, and the context with losses.

        Its sums (over the places that a bias is added at, the occurrences of a token, the
        steps of a scan) accumulate in f32, whatever the model computes in.
        """
        (num_parts,) = self._use("grad_accum_steps")
        rngs = self.rng_streams.train_rngs(context.step)
        scale = _loss_scale.scale_of(context.opt_state)
        if num_parts > 1:
            grads, after = self._accumulate_grads(context, rngs, num_parts, scale)
        else:

            def loss_fn(params: PyTree) -> tuple[jax.Array, Context]:
                after = self.forward(dataclasses.replace(context, params=params), rngs)
                total, states = losses_lib.compute_losses(self.aux.losses, after)
                after = dataclasses.replace(after, loss_states=states, loss_total=total)
                return total if scale is None else total * scale, after

            grads, after = _f32_sums.grad(loss_fn, context.params)
        if scale is not None:
            grads = _loss_scale.unscale(grads, scale)
        return grads, dataclasses.replace(after, params=context.params)

    def _accumulate_grads(
        self,
        context: Context,
        rngs: Mapping[str, jax.Array],
        num_parts: int,
        scale: jax.Array | None,
    ) -> tuple[Any, Context]:
        def run(part: Context, index: ScalarInt) -> Context:
            part_rngs = {k: jax.random.fold_in(rng, index) for k, rng in rngs.items()}
            after = self.forward(part, part_rngs)
            _, states = losses_lib.compute_losses(self.aux.losses, after)
            return dataclasses.replace(after, loss_states=states)

        return accumulation.compute_grads(
            context,
            run,
            num_microbatches=num_parts,
            batch_sharding=self.sharding.batch,
            loss_scale=scale,
        )

    def apply_grads(
        self, state: TrainState, context: Context, grads: PyTree
    ) -> tuple[TrainState, Context]:
        """Returns the updated state, and the context with everything measured."""
        optimizer = optax.with_extra_args_support(self.full_optimizer)
        extra = _optimizer_args.extra_args(
            context.loss_total, grads, self._value_fn(state, context)
        )
        with jax.named_scope("optimizer"):  # as profiles call it
            with shared_programs.varying_numbers():
                updates, opt_state = optimizer.update(
                    grads, state.opt_state, state.params, **extra
                )
            params = optax.apply_updates(state.params, updates)
        next_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            collections=context.collections,
            opt_state=opt_state,
        )
        context = dataclasses.replace(context, grads=grads, updates=updates)
        context = self.aux.update_context(context)
        if _loss_scale.scale_of(opt_state) is None:
            return next_state, context
        return _loss_scale.after_update(state, next_state, context)

    def _value_fn(self, state: TrainState, context: Context) -> Callable[[Any], Any]:
        """Returns the loss of the batch as a function of the parameters."""

        def value_fn(params: PyTree) -> jax.Array:
            if self.option("grad_accum_steps") > 1:
                raise _step_options.TrainStepError(
                    "`cfg.optimizer` asks for the loss at other parameters (as "
                    "`optax.lbfgs` and `optax.contrib.sophia` do), which takes the whole "
                    "batch at once: set `cfg.grad_accum_steps = 1`."
                )
            if jax.tree.structure(params) != jax.tree.structure(state.params):
                raise _step_options.TrainStepError(
                    "`cfg.optimizer` asks for the loss at a part of the parameters: "
                    "`optax.lbfgs` and `optax.contrib.sophia` must have all of them, not "
                    "those of one entry of `kd.optim.by_path` or of a mask."
                )
            before = Context.from_state_and_batch(state=state, batch=context.batch)
            rngs = self.rng_streams.train_rngs(state.step)
            after = self.forward(dataclasses.replace(before, params=params), rngs)
            return losses_lib.compute_losses(self.aux.losses, after)[0]

        return value_fn

    def _whole_step(
        self, state: TrainState, batch: PyTree
    ) -> tuple[TrainState, Context]:
        """One update as it is inside jit: `_step`, whatever class it is of.

        Raises:
          TrainStepError: If an option of the trainer is set that `_step` leaves out.
        """
        if type(self) is TrainStep:  # follows them all
            return self._step(state, batch)
        with _step_options.all_used(self):
            result = self._step(state, batch)
        _step_options.check_pair(
            self, "_step` or `apply_grads", "the next state", result
        )
        return result

    def _use(self, *names: str) -> list[Any]:
        """Returns options, and notes that the step that is traced follows them."""
        used = _step_options.USED.get()
        if used is not None:
            used.update(names)
        return [self.option(name) for name in names]

    def option(self, name: str) -> Any:
        """Returns an option of the trainer; its default if the step has no trainer."""
        value = getattr(self, name)
        is_unbound = isinstance(value, root_refs.RootCfgRef)
        return _step_options.DEFAULTS[name] if is_unbound else value

    def _traced_step(
        self,
        state: TrainState,
        batch: PyTree,
        is_halted: jax.Array | None = None,
        *,
        return_losses: bool,
        return_metrics: bool,
        return_summaries: bool,
        checkify_error_categories: frozenset[Any],
    ) -> tuple[TrainState, packed_states.PackedStates, dict[str, Any]]:
        def run(state: TrainState, batch: PyTree) -> tuple[TrainState, Any, Any]:
            error = None
            if checkify_error_categories:
                step = checkify.checkify(
                    self._whole_step, errors=checkify_error_categories
                )
                error, (next_state, context) = step(state, batch)
            else:
                next_state, context = self._whole_step(state, batch)
            aux = context.get_aux_state(
                return_losses=return_losses,
                return_metrics=return_metrics,
                return_summaries=return_summaries,
            )
            is_bad = None
            if is_halted is not None:
                is_bad = is_halted | ~finiteness.is_finite_step(context, next_state)
                is_bad = sharding.with_sharding_constraint(
                    is_bad, self.sharding.replicated
                )
            return next_state, is_bad, (aux, error)

        if is_halted is None:
            state, is_bad, (aux, error) = run(state, batch)
        else:
            state, is_bad, (aux, error) = _held_step.hold_if(run, state, batch)
        others = {"error": error, "is_halted": is_bad}
        return self.place(state), aux.pack(self.sharding), others

    @functools.cached_property
    def _jitted_step(self) -> Callable[..., Any]:
        return shared_programs.SharedJit(
            self._traced_step,
            donate_argnums=(0,),
            static_argnames=(
                "return_losses",
                "return_metrics",
                "return_summaries",
                "checkify_error_categories",
            ),
        )

    def init_model(
        self, elem_spec: PyTree, model_method: str | Callable[..., Any] | None = None
    ) -> TrainState:
        """Returns a state with parameters and collections, placed; see `init`."""
        return _initial_state.init_model(self, elem_spec, model_method)

    def init_optimizer(self, state: TrainState) -> TrainState:
        """Returns the state with that of the optimizer, placed."""
        return _initial_state.init_optimizer(self, state)

    @functools.cached_property
    def _traced_inits(self) -> dict[Hashable, Callable[..., Any]]:
        return {}  # see `_initial_state`

    @property
    def full_optimizer(self) -> Any:
        """The optimizer with what the precision adds to it."""
        precision = self.option("precision")
        return precision.wrap_optimizer(self.optimizer) if precision else self.optimizer

    def place(self, state: TrainState) -> TrainState:
        """Returns the state where the sharding wants it."""
        return sharding.with_sharding_constraint(state, self.sharding.state_of(state))


def check_state(state: TrainState) -> None:
    """Raises `UsedStateError` if arrays of a state were donated before.

    Checking one is enough, as a step takes all of them or none. Leaving it to JAX is
    not an option: with several devices, jaxlib 0.10.2 dies of a segmentation fault.
    """
    array: Any = state.step
    if isinstance(array, jax.core.Tracer) or not isinstance(array, jax.Array):
        return
    if array.is_deleted():
        raise step_inputs.UsedStateError
