"""Adversarial training: several losses train different parts of one model (GANs).

The model is one Flax module that returns everything the losses need (what the generator
made, what the discriminator says of it and of real examples). A *group* names some losses,
the parameters that these may change, and an optimizer. One forward pass serves all groups.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
import optax

from kauldron import losses as losses_lib
from kauldron import optim
from kauldron._base import errors, frozen_dict
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import (
    _f32_sums,
    _loss_scale,
    _optimizer_args,
    _param_owners,
    mixed_precision,
)
from kauldron.step import train_step as train_step_lib
from kauldron.step.context import Context

# Of one group: its parameters and optimizer state afterwards, its gradients and updates.
_Update: TypeAlias = tuple[Any, Any, Any, Any]


class _Pass(NamedTuple):
    """A forward pass.

    Attributes:
      totals: Name of a group -> the sum of its losses, `Float32[""]`.
      pull_back: From such a tree of factors to the gradient of the weighted sum.
      context: With everything that losses and metrics read.
    """

    totals: dict[str, jax.Array]
    pull_back: Callable[[dict[str, jax.Array]], Any]
    context: Context

    def grads_of(self, name: str, scale: jax.Array | None) -> Any:
        """Returns the gradient of the losses of one group, times `scale`."""
        one_hot = {n: jnp.full_like(v, n == name) for n, v in self.totals.items()}
        if scale is not None:
            one_hot[name] = scale
        return self.pull_back(one_hot)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossGroup:
    """Some losses, the parameters they may change, and how.

    Attributes:
      losses: Names in `cfg.train_losses`, one or several. A loss may be in several
        groups: each follows its own gradient.
      params: Globs relative to the parameters, such as `'generator'`, one or several; or
        a function from parameters to a tree of bools, such as `kd.optim.select(...)`.
      optimizer: Optimizer of these parameters. It sees no others.
      every: The group is due at every `every`-th step: 1 for the discriminator and 5
        for the generator means five updates of the former to one of the latter.
      accum_steps: Number of times the group is due for one update; the gradients are
        averaged.
    """

    losses: str | Sequence[str]
    params: optim.Selection
    optimizer: optax.GradientTransformation
    every: int = 1
    accum_steps: int = 1

    def __post_init__(self) -> None:
        for name in ("every", "accum_steps"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1: got {value}.")
        if not self.loss_names:
            raise ValueError("`losses` names no loss.")
        if not hasattr(self.optimizer, "update"):
            raise ValueError(
                "`optimizer` must be one of optax, such as `optax.adam(1e-3)`: got "
                f"{self.optimizer!r}. Parameters that stay as they are go to `frozen`."
            )

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The losses as a tuple, also if one name was given."""
        return (self.losses,) if isinstance(self.losses, str) else tuple(self.losses)

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optimizer, with accumulation."""
        if self.accum_steps == 1:
            return self.optimizer
        steps = optax.MultiSteps(self.optimizer, every_k_schedule=self.accum_steps)
        return steps.gradient_transformation()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LossGroupsStep(train_step_lib.TrainStep):
    """A training step in which each group of losses changes its own parameters.

    `cfg.optimizer` stays `None`; `opt_state` is a dict by group. In the context, `grads`
    and `updates` have the structure of `params`, each leaf from the group that owns it
    (zeros where the group is not due), and everything else is of the first forward pass:
    of the parameters before the step.

    Attributes:
      groups: Name -> group, in the order of the updates. Every loss is in one at least,
        every parameter in exactly one, or in `frozen`.
      frozen: Globs of parameters that never change.
      order: `'simultaneous'`: all groups follow the gradients at the parameters before
        the step, from one forward pass. `'alternating'`: each group sees the updates of
        those before it, which costs another forward pass of what they have changed. The
        random numbers are the same, and the other variables (`batch_stats`) are those
        that the first pass leaves.
    """

    groups: Mapping[str, LossGroup]
    frozen: str | Sequence[str] = ()
    order: Literal["simultaneous", "alternating"] = "simultaneous"
    optimizer: Any = None

    def __post_init__(self) -> None:
        if self.order not in ("simultaneous", "alternating"):
            raise ValueError(
                f"`order` must be 'simultaneous' or 'alternating': got {self.order!r}."
            )
        if not self.groups:
            raise ValueError("`groups` is empty: a step without groups trains nothing.")
        values = self.groups.values() if isinstance(self.groups, Mapping) else [None]
        if not all(isinstance(group, LossGroup) for group in values):
            raise ValueError(
                "`groups` maps names to `kd.train.LossGroup`s: got "
                f"{type(self.groups).__name__} {self.groups!r}."
            )
        groups = frozen_dict.ImmutableDict(self.groups)
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "optimizer", _optimizer_of(groups, self.frozen))

    def update_from_root_cfg(self, root_cfg: Any) -> Self:
        if root_cfg.optimizer is not None:
            raise _param_owners.LossGroupError(
                "`cfg.optimizer` would be ignored: each group of `cfg.trainstep.groups` "
                "has an optimizer of its own. Set `cfg.optimizer = None`."
            )
        return super().update_from_root_cfg(root_cfg)

    def init_optimizer(self, state: TrainState) -> TrainState:
        self._check_losses()
        return super().init_optimizer(state)

    @property
    def full_optimizer(self) -> optax.GradientTransformation:
        precision = self.option("precision")
        return _optimizer_of(self.groups, self.frozen, precision)

    def _check_losses(self) -> None:
        known = list(self.aux.losses)
        named = {n: g for g, group in self.groups.items() for n in group.loss_names}
        for name, group in named.items():
            if name not in known:
                raise _param_owners.LossGroupError(
                    f"The group {group!r} names the loss {name!r}, which is not in "
                    f"`cfg.train_losses`.{errors.did_you_mean(name, known)} There are "
                    f"{known}."
                )
        left = [name for name in known if name not in named]
        if left:
            raise _param_owners.LossGroupError(
                f"The losses {left} are in no group of `cfg.trainstep.groups`, so they "
                "would train nothing. Name them in the `losses` of a group; what is only "
                "to be watched is a metric."
            )

    def _step(self, state: TrainState, batch: PyTree) -> tuple[TrainState, Context]:
        if self.option("grad_accum_steps") > 1:
            raise _param_owners.LossGroupError(
                "Steps of loss groups don't split batches: set `cfg.grad_accum_steps = 1`, "
                "and use `accum_steps` of a `LossGroup`, which averages the gradients of "
                "several batches, or `cfg.remat`, which saves memory too."
            )
        before = Context.from_state_and_batch(state=state, batch=batch)
        split = _split(self.groups, self.frozen, state.params)
        first_pass = self._linearize(before, state.params)
        context = first_pass.context
        params, opt_state = state.params, {}
        grads = updates = jax.tree.map(jnp.zeros_like, state.params)
        for i, (name, group) in enumerate(self.groups.items()):
            is_stale = self.order == "alternating" and i > 0
            known = None if is_stale else first_pass
            update = self._updater(name, split, before, known)
            if group.every > 1:
                update = functools.partial(
                    _if_due,
                    (state.step + 1) % group.every == 0,
                    update,
                    functools.partial(split.take, name),
                )
            own, opt_state[name], own_grads, own_updates = update(
                params, state.opt_state[name]
            )
            params = split.put(name, params, own)
            grads = split.put(name, grads, own_grads)
            updates = split.put(name, updates, own_updates)
        next_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            collections=context.collections,
            opt_state=opt_state,
        )
        context = dataclasses.replace(
            context, params=state.params, grads=grads, updates=updates
        )
        context = self.aux.update_context(context)
        if any(_loss_scale.scale_of(s) is not None for s in opt_state.values()):
            return _loss_scale.after_update(state, next_state, context)
        return next_state, context

    def _updater(
        self,
        name: str,
        split: _param_owners.Owners,
        before: Context,
        known: _Pass | None,
    ) -> Callable[[Any, Any], _Update]:
        """Returns the update of one group; runs a forward pass unless given one."""
        precision = self.option("precision")
        optimizer = _transformation(self.groups[name], precision)

        def update(params: PyTree, opt_state: PyTree) -> _Update:
            def value_fn(own: PyTree) -> jax.Array:
                return self._totals(before, split.put(name, params, own))[0][name]

            this = known or self._linearize(before, params)
            own = split.take(name, params)
            scale = _loss_scale.scale_of(opt_state)
            grads = split.take(name, this.grads_of(name, scale))
            if scale is not None:
                grads = _loss_scale.unscale(grads, scale)
            extra = _optimizer_args.extra_args(this.totals[name], grads, value_fn)
            updates, opt_state = optimizer.update(grads, opt_state, own, **extra)
            return optax.apply_updates(own, updates), opt_state, grads, updates

        return update

    def _linearize(self, before: Context, params: PyTree) -> _Pass:
        """Runs the forward pass on these parameters."""
        return _Pass(
            *_f32_sums.value_and_pull_back(
                functools.partial(self._totals, before), params
            )
        )

    def _totals(
        self, before: Context, params: PyTree
    ) -> tuple[dict[str, jax.Array], Context]:
        rngs = self.rng_streams.train_rngs(before.step)
        after = self.forward(dataclasses.replace(before, params=params), rngs)
        total, states = losses_lib.compute_losses(self.aux.losses, after)
        after = dataclasses.replace(after, loss_states=states, loss_total=total)
        return {
            name: losses_lib.total_of([states[n] for n in group.loss_names])
            for name, group in self.groups.items()
        }, after


def _split(
    groups: Mapping[str, LossGroup], frozen: str | Sequence[str], params: PyTree
) -> _param_owners.Owners:
    selections: dict[str, optim.Selection] = {n: g.params for n, g in groups.items()}
    return _param_owners.Owners.of(selections, frozen, params)


def _if_due(
    is_due: jax.Array | bool,
    update: Callable[[Any, Any], _Update],
    take: Callable[[Any], Any],
    params: PyTree,
    opt_state: PyTree,
) -> _Update:
    """Runs the update of a group, or leaves everything unchanged."""
    _, _, grads, updates = jax.eval_shape(update, params, opt_state)

    def skip(params: PyTree, opt_state: PyTree) -> _Update:
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, updates))
        return take(params), opt_state, *zeros

    # A branch, not a selection between two results: what is not due costs no time.
    return jax.lax.cond(is_due, update, skip, params, opt_state)


def _transformation(
    group: LossGroup, precision: mixed_precision.Precision | None
) -> optax.GradientTransformationExtraArgs:
    """Returns the optimizer of a group with what the precision adds to it."""
    optimizer = group.transformation
    if precision is not None:
        optimizer = precision.wrap_optimizer(optimizer)
    # Those that `accum_steps` wraps don't take any: the loss is of the last batch only.
    return optax.with_extra_args_support(optimizer)


def _optimizer_of(
    groups: Mapping[str, LossGroup],
    frozen: str | Sequence[str],
    precision: mixed_precision.Precision | None = None,
) -> optax.GradientTransformation:
    """All optimizers as one: its state is a dict by group."""

    def init(params: PyTree) -> Any:
        split = _split(groups, frozen, params)
        return {
            name: _transformation(group, precision).init(split.take(name, params))
            for name, group in groups.items()
        }

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> Any:
        raise NotImplementedError("`LossGroupsStep` updates group by group.")

    rates = {}
    for name, group in groups.items():
        every = group.every * group.accum_steps
        for suffix, rate in optim.learning_rates(group.optimizer).items():
            full_name = f"{name}/{suffix}" if suffix else name
            rates[full_name] = optim.slowed_down(rate, every)
    optim.declare_learning_rates(update, rates)
    return optax.GradientTransformation(init, update)
