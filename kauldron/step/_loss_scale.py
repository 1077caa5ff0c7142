"""Loss scaling: keeps small gradients from underflowing in fp16."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kauldron import metrics
from kauldron._base import errors
from kauldron.ktyping import Array, Bool, Float, Int, PyTree, typechecked


class LossScaleError(errors.UserError, ValueError):
    """A loss scale that cannot work."""


class LossScaleState(NamedTuple):
    """Optimizer state of a run with a `DynamicLossScale`.

    Attributes:
      scale: Factor of the loss, `Float32[""]`.
      num_finite: Updates since the last change of the scale, `Int32[""]`.
      num_skipped: Updates skipped so far, `Int32[""]`.
      inner: State of the optimizer.
    """

    scale: Float[""]
    num_finite: Int[""]
    num_skipped: Int[""]
    inner: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicLossScale:
    """Scales the loss as far as gradients don't overflow.

    An update whose gradient has an infinity or a NaN is skipped (parameters, optimizer
    state and variable collections stay as they are; the step counts) and the scale
    shrinks; after `growth_interval` updates without one it grows. The scale is part of the
    optimizer state, so checkpoints have it; it is logged as `metrics/loss_scale`, with
    `metrics/skipped_updates`.

    Attributes:
      initial: First scale, > 0.
      growth_interval: Updates until the scale grows, >= 1.
      growth_factor: By how much it grows, > 1.
      backoff_factor: By how much it shrinks, in (0, 1).

    Raises:
      LossScaleError: If a value is out of range.

    Reference: Micikevicius et al. 2018, Mixed Precision Training, section 3.2,
    arXiv:1710.03740.
    """

    initial: float = 2.0**15
    growth_interval: int = 2000
    growth_factor: float = 2.0
    backoff_factor: float = 0.5

    def __post_init__(self) -> None:
        ranges = {
            "initial": (self.initial > 0, "> 0"),
            "growth_interval": (self.growth_interval >= 1, ">= 1"),
            "growth_factor": (self.growth_factor > 1, "> 1"),
            "backoff_factor": (0 < self.backoff_factor < 1, "in (0, 1)"),
        }
        for name, (is_fine, wanted) in ranges.items():
            if not is_fine:
                raise LossScaleError(
                    f"`DynamicLossScale.{name}` must be {wanted}: got "
                    f"{getattr(self, name)!r}."
                )

    def wrap_optimizer(
        self, optimizer: optax.GradientTransformation
    ) -> optax.GradientTransformationExtraArgs:
        """Returns an optimizer that skips overflows; its state is a `LossScaleState`."""
        optimizer = optax.with_extra_args_support(optimizer)

        def init(params: PyTree) -> LossScaleState:
            return LossScaleState(
                scale=jnp.float32(self.initial),
                num_finite=jnp.int32(0),
                num_skipped=jnp.int32(0),
                inner=optimizer.init(params),
            )

        def update(
            updates: PyTree, state: PyTree, params: PyTree = None, **extra_args: Any
        ) -> tuple[Any, LossScaleState]:
            is_finite = jnp.array(True)
            for x in jax.tree.leaves(updates):
                is_finite &= jnp.isfinite(x).all()
            updates, inner = optimizer.update(
                updates, state.inner, params, **extra_args
            )
            updates = jax.tree.map(lambda x: jnp.where(is_finite, x, 0), updates)
            return updates, self._after(state, is_finite, inner)

        return optax.GradientTransformationExtraArgs(init, update)

    def _after(
        self, state: LossScaleState, is_finite: jax.Array, inner: Any
    ) -> LossScaleState:
        num_finite = jnp.where(is_finite, state.num_finite + 1, 0)
        grows = num_finite == self.growth_interval
        # A power of two below the largest f32: the loss itself must stay finite.
        grown = jnp.minimum(state.scale * self.growth_factor, 2.0**100)
        shrunk = jnp.maximum(state.scale * self.backoff_factor, 2.0**-100)
        scale = jnp.where(is_finite, jnp.where(grows, grown, state.scale), shrunk)
        return LossScaleState(
            scale=scale,
            num_finite=jnp.where(grows, 0, num_finite),
            num_skipped=state.num_skipped + ~is_finite,
            inner=keep_if(is_finite, inner, state.inner),
        )


@typechecked
def keep_if(is_finite: Bool[""], new: PyTree, old: PyTree) -> Any:
    """Returns the new tree, or the old one after an overflow."""
    return jax.tree.map(lambda n, o: jnp.where(is_finite, n, o), new, old)


@typechecked
def scale_of(opt_state: PyTree) -> Float[""] | None:
    """Returns the scale that an optimizer state holds; `None` without scaling."""
    return opt_state.scale if isinstance(opt_state, LossScaleState) else None


def is_overflow(opt_state: PyTree, next_opt_state: PyTree) -> Bool[""] | None:
    """Returns whether an update was skipped due to overflow, `Bool[""]`, inside jit.

    A scale below one causes no overflow that would not occur anyway: then a non-finite
    gradient does not count as an overflow.

    Args:
      opt_state: Optimizer state before the step; `None` is returned without scaling.
      next_opt_state: The same after it.
    """
    if not isinstance(opt_state, LossScaleState):
        return None
    is_skipped = next_opt_state.num_skipped != opt_state.num_skipped
    return is_skipped & (opt_state.scale >= 1)


@typechecked
def unscale(grads: PyTree, scale: Float[""]) -> Any:
    """Returns gradients of the loss as it was before scaling; in f32 at least."""

    def divide(g: Array) -> Any:
        if not jnp.issubdtype(g.dtype, jnp.inexact):  # of integer parameters
            return g
        return g.astype(jnp.promote_types(g.dtype, jnp.float32)) / scale

    return jax.tree.map(divide, grads)


def after_update(state: PyTree, next_state: PyTree, context: Any) -> tuple[Any, Any]:
    """Returns the state and the context of a step that may have been skipped.

    Args:
      state: `TrainState` before the step; `opt_state` is a `LossScaleState`, or a dict of
        several.
      next_state: The same after it.
      context: With `metric_states`.
    """

    def each(name: str, opt_state: PyTree) -> Any:
        return jax.tree.map(
            lambda s: getattr(s, name),
            opt_state,
            is_leaf=lambda x: isinstance(x, LossScaleState),
        )

    num_skipped = each("num_skipped", next_state.opt_state)
    is_finite = jnp.array(True)
    for before, after in zip(
        jax.tree.leaves(each("num_skipped", state.opt_state)),
        jax.tree.leaves(num_skipped),
        strict=True,
    ):
        is_finite &= before == after
    kept = keep_if(is_finite, next_state.collections, state.collections)
    measured = {
        "loss_scale": each("scale", state.opt_state),
        "skipped_updates": num_skipped,
    }
    metric_states = {
        **jax.tree.map(metrics.AverageState.from_values, measured),
        **context.metric_states,
    }
    return (
        dataclasses.replace(next_state, collections=kept),
        dataclasses.replace(context, metric_states=metric_states),
    )
