"""Cross-entropies."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kauldron import kontext
from kauldron.losses import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropyWithIntLabels(base.Loss):
    """Negative log-probability of the labelled class, in nats.

    Attributes:
      logits: Key to unnormalised scores, `f[*a classes]`.
      labels: Key to class ids in `[0, classes)`, `i[*a 1]`. Out of range is undefined
        under jit.

    Raises:
      ValueError: If the shapes don't fit, or the labels are not integers.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED

    def get_values(self, logits: Any, labels: Any) -> jax.Array:
        if labels.shape != (*logits.shape[:-1], 1):
            raise ValueError(
                f"{type(self).__name__} needs logits `f[*a classes]` and labels "
                f"`i[*a 1]`: got logits {logits.shape} (key {self.logits!r}) and labels "
                f"{labels.shape} (key {self.labels!r}). Add the last axis with "
                "`kd.data.Rearrange(key='label', pattern='... -> ... 1')`."
            )
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(
                f"{type(self).__name__} needs integer labels: key {self.labels!r} is "
                f"{labels.dtype}."
            )
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        values = optax.softmax_cross_entropy_with_integer_labels(logits, labels[..., 0])
        return values[..., None]
