"""Losses with per-element weights."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from kauldron import kontext, losses
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedL1(losses.L1):
    """`weights * |preds - targets|`, averaged over all elements.

    The mean is over the number of elements, not over the sum of the weights; if
    a `mask` is given as well, the mean is over what it selects.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of exactly the same shape.
      weights: Key to factors, `f`; trailing axes may be missing, axes may be 1.

    Raises:
      ValueError: If the shapes differ, or the weights do not fit.
    """

    weights: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(
        self, preds: Array["*a"], targets: Array["*a"], weights: Array
    ) -> jax.Array:
        values = super().get_values(preds=preds, targets=targets)
        weights = base_state.broadcast_mask(weights, values.shape)
        # What has no weight leaves no trace, whatever it holds.
        return jnp.where(weights == 0, 0, values * weights.astype(values.dtype))
