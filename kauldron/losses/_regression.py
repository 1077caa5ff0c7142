"""Losses between predictions and targets of the same shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.losses import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class L2(base.Loss):
    """Squared difference of every element, `(preds - targets)**2`.

    Attributes:
      preds: Key to predictions, `f[*a]`.
      targets: Key to targets of exactly the same shape (nothing is broadcast).

    Raises:
      ValueError: If the shapes differ.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED

    def get_values(self, preds: Any, targets: Any) -> jax.Array:
        if preds.shape != targets.shape:
            raise ValueError(
                "L2 needs `preds` and `targets` of the same shape: got "
                f"{preds.shape} (key {self.preds!r}) and {targets.shape} (key "
                f"{self.targets!r})."
            )
        return jnp.square(preds - targets)
