"""Weight decay towards the initial parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kauldron.ktyping import PyTree


class DecayToInitState(NamedTuple):
    """State of `decay_to_init`: the initial parameters."""

    init_params: PyTree


def decay_to_init(
    weight_decay: float, mask: PyTree[bool] | Callable[[Any], Any] | None = None
) -> optax.GradientTransformation:
    """Adds `weight_decay * (params - initial params)` to the updates.

    As `optax.add_decayed_weights`, with the initial parameters (those after
    `cfg.init_transform`) in place of zero; for fine-tuning.

    Args:
      weight_decay: Strength, per unit of the updates it is added to.
      mask: Tree of bools, or a function from parameters to one, such as
        `kd.optim.select('head')`: which parameters decay. `None` is all.

    Reference: Li et al. 2018, Explicit Inductive Bias for Transfer Learning (L2-SP),
    arXiv:1802.01483.
    """

    def init(params: PyTree) -> DecayToInitState:
        return DecayToInitState(jax.tree.map(lambda x: jnp.array(x, copy=True), params))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[Any, DecayToInitState]:
        if params is None:
            raise ValueError("`decay_to_init` needs the parameters.")
        updates = jax.tree.map(
            lambda u, p, start: u + weight_decay * (p - start),
            updates,
            params,
            state.init_params,
        )
        return updates, state

    transform = optax.GradientTransformation(init, update)
    return transform if mask is None else optax.masked(transform, mask)
