"""Metrics of class predictions."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp

from kauldron import kontext
from kauldron.metrics import base, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(base.Metric):
    """Fraction of examples whose predicted class is the label.

    Attributes:
      logits: Key to scores, `f[*b classes]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `i[*b 1]`; exactly one of both is given.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`; `None` counts every example.

    Raises:
      ValueError: If neither or both of `logits` and `pred_labels` are given, or the
        shapes differ.
    """

    logits: kontext.Key | None = None
    pred_labels: kontext.Key | None = None
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    def get_state(
        self,
        labels: Any,
        logits: Any = None,
        pred_labels: Any = None,
        mask: Any = None,
    ) -> State:
        if (logits is None) == (pred_labels is None):
            raise ValueError(
                "Accuracy needs exactly one of `logits` and `pred_labels`: got "
                + ("neither." if logits is None else "both.")
            )
        if pred_labels is None:
            pred_labels = jnp.argmax(logits, axis=-1, keepdims=True)
        if pred_labels.shape != labels.shape:
            raise ValueError(
                "Accuracy compares `i[*b 1]` labels: the predictions have shape "
                f"{pred_labels.shape}, the labels {labels.shape}. Add the last axis "
                "with `kd.data.Rearrange(key='label', pattern='... -> ... 1')`."
            )
        return self.State.from_values(pred_labels == labels, mask=mask)
