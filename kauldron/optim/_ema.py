"""Exponential moving average of the parameters."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kauldron import checkpoints
from kauldron._base import errors
from kauldron.ktyping import DType, Int32, PyTree
from kauldron.sharding import TrainState

_IS_EMA = "__kauldron_is_ema__"


def is_ema(transform: object) -> bool:
    """Returns whether a transformation was made by `ema_params`."""
    return hasattr(getattr(transform, "update", None), _IS_EMA)


class EmaParamsState(NamedTuple):
    """State of `ema_params`.

    Attributes:
      count: Number of updates, `Int32[""]`.
      ema: Average, of the structure of the parameters.
    """

    count: Int32[""]
    ema: PyTree


class EmaError(errors.UserError, ValueError):
    """There is not exactly one average to use."""


class EmaKeyError(errors.UserError, KeyError):
    """The average lacks some parameters."""


def ema_params(
    *, decay: float, debias: bool = True, accumulator_dtype: DType | None = None
) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters; updates pass unchanged.

    It must be the last of a chain: it averages the parameters that the updates lead to.

    Args:
      decay: Weight of the old average, in `[0, 1)`.
      debias: Whether early averages forget the initial parameters faster: the weight is
        at most `(1 + t) / (10 + t)` at update `t`.
      accumulator_dtype: Of the average, a float dtype. Unless given, f32 for parameters
        of 16 bits, in which an average would not move, and otherwise that of the
        parameters. What is not a float is not averaged: it is the last value.

    Raises:
      ValueError: If `decay` is outside of `[0, 1)`.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"`decay` must be in [0, 1): got {decay}.")

    def cast(x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        if accumulator_dtype is not None:
            return x.astype(accumulator_dtype)
        return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x

    def average(weight: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(old.dtype, jnp.inexact):
            return new
        return (weight * old + (1 - weight) * cast(new)).astype(old.dtype)

    def init(params: PyTree) -> EmaParamsState:
        # A copy: the parameters and the average are donated separately.
        ema = jax.tree.map(lambda x: cast(jnp.array(x, copy=True)), params)
        return EmaParamsState(count=jnp.zeros((), jnp.int32), ema=ema)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[Any, EmaParamsState]:
        if params is None:
            raise ValueError(
                "`ema_params` needs the parameters: `update(g, s, params)`."
            )
        weight = jnp.float32(decay)
        if debias:
            t = state.count.astype(jnp.float32)
            weight = jnp.minimum(weight, (1 + t) / (10 + t))
        new_params = optax.apply_updates(params, updates)
        ema = jax.tree.map(functools.partial(average, weight), state.ema, new_params)
        return updates, EmaParamsState(count=state.count + 1, ema=ema)

    setattr(update, _IS_EMA, True)
    return optax.GradientTransformation(init, update)


@dataclasses.dataclass(frozen=True)
class UseEmaParams(checkpoints.InitTransform):
    """Replaces the parameters by their average, for instance in an evaluator.

    Attributes:
      ema_params_transform: Accepted for compatibility; the average is found in the
        optimizer state.
      partial_ok: Whether parameters without an average (masked ones) stay as they are.

    Raises (when applied):
      EmaError: If the optimizer state holds no average, or several.
      EmaKeyError: If parameters have no average and `partial_ok` is false.
    """

    ema_params_transform: Any = None
    partial_ok: bool = False

    def transform(self, state: TrainState) -> TrainState:
        def is_ema(x: object) -> bool:
            return isinstance(x, EmaParamsState)

        found = [
            x for x in jax.tree.leaves(state.opt_state, is_leaf=is_ema) if is_ema(x)
        ]
        if len(found) != 1:
            raise EmaError(
                f"The optimizer state holds {len(found)} averages of the parameters, "
                "one is needed: put `kd.optim.ema_params(decay=...)` last in the chain, "
                "once, and keep the optimizer state (`discard_opt=False`)."
            )
        return dataclasses.replace(
            state, params=self._merge(state.params, found[0].ema)
        )

    def _merge(self, params: PyTree, ema: PyTree) -> Any:
        averages = {
            jax.tree_util.keystr(path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(ema)
        }
        missing = []

        def pick(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
            name = jax.tree_util.keystr(path)
            if name not in averages:
                missing.append(jax.tree_util.keystr(path, simple=True, separator="."))
                return value
            return averages[name].astype(value.dtype)

        merged = jax.tree_util.tree_map_with_path(pick, params)
        if missing and not self.partial_ok:
            raise EmaKeyError(
                f"There is no average of {missing[:5]}. Use "
                "`UseEmaParams(partial_ok=True)` to keep these parameters as they are."
            )
        return merged
