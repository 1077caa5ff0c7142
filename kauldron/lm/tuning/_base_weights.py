"""`BaseWeights`: what an init transform does to a model, done to the base of a `LoRA`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import checkpoints
from kauldron.ktyping import PyTree
from kauldron.lm.tuning import _int8, _low_rank
from kauldron.lm.tuning._lora import BASE
from kauldron.sharding import TrainState


@dataclasses.dataclass(frozen=True)
class BaseWeights(checkpoints.InitTransform):
    """Fills the frozen weights of a `LoRA`, as one fills the parameters of its model.

    Attributes:
      weights: An init transform that fills the parameters of the model inside, or these
        parameters themselves, such as those that `kd.lm.load` returns.

    Raises:
      LoRAError: A `ValueError`: the model has no frozen weights, or others than these.

    Example:

    ```python
    cfg.init_transform = kd.lm.BaseWeights(kd.ckpts.PretrainedWeights(...))
    ```
    """

    weights: Any

    def check(self, state: TrainState) -> None:
        base, _ = _base_of(state)
        plain = _int8.specs(base, jnp.float32)
        if isinstance(self.weights, checkpoints.InitTransform):
            self.weights.check(_inside(state, plain))
        else:
            _check_weights(self.weights, plain)

    def transform(self, state: TrainState) -> TrainState:
        base, put_back = _base_of(state)
        params = self.weights
        if isinstance(params, checkpoints.InitTransform):
            plain = jax.jit(_int8.dequantize, static_argnums=1)(base, jnp.float32)
            params = params.transform(_inside(state, plain)).params
        else:
            _check_weights(params, _int8.specs(base, jnp.float32))
        kept = jax.jit(_int8.quantize_like)(params, base)
        return dataclasses.replace(
            state, collections={**state.collections, BASE: put_back(kept)}
        )


def _inside(state: TrainState, params: PyTree) -> TrainState:
    return dataclasses.replace(state, params=params, collections={}, opt_state=None)


def _base_of(state: TrainState) -> tuple[Any, Callable[[Any], Any]]:
    """Returns the frozen weights, and what puts others in their place."""
    base = (state.collections or {}).get(BASE)
    if not base:
        raise _low_rank.LoRAError(
            "`BaseWeights` fills the frozen weights of a `kd.lm.LoRA`, which keeps them in "
            f"the collection `{BASE}`: got a state with the collections "
            f"{sorted(state.collections or {})}."
        )
    if set(base) == {"policy"}:  # inside of `WithReference`
        return base["policy"], lambda kept: {"policy": kept}
    return base, lambda kept: kept


def _check_weights(weights: PyTree, plain: PyTree) -> None:
    given = {k: np.shape(v) for k, v in _low_rank.flatten(weights).items()}
    wanted = {k: v.shape for k, v in _low_rank.flatten(plain).items()}
    wrong = sorted(
        ".".join(k) for k in {**given, **wanted} if given.get(k) != wanted.get(k)
    )
    if wrong:
        path = tuple(wrong[0].split("."))
        raise _low_rank.LoRAError(
            f"The weights are of another model: `{wrong[0]}` is "
            f"{given.get(path, 'missing')}, and {wanted.get(path, 'not there')} in the "
            f"model; {len(wrong)} of {len(wanted)} differ."
        )
