"""Agreement of groupings whose group numbers mean nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.metrics import auto_state, base, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ari(base.Metric):
    """Adjusted Rand index of segmentations, averaged over examples.

    1 for equal groupings, about 0 for unrelated ones. All axes after the first are points
    of one example: an image, or a video.

    Attributes:
      predictions: Key to predicted groups, `i[b *points 1]`.
      labels: Key to true groups, of the same shape.
      mask: Key to which points count, `[b *points]` or with axes of 1. (Not weights.)
      num_instances_true: Labels are in `[0, num_instances_true)`.
      num_instances_pred: Predictions are in `[0, num_instances_pred)`.
      ignored_ids: True groups that don't count, such as the background.

    Raises:
      ValueError: If the shapes differ, or a number of groups is missing.

    Reference: Hubert and Arabie 1985, Comparing partitions.
    """

    predictions: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_instances_true: int | None = None
    num_instances_pred: int | None = None
    ignored_ids: int | tuple[int, ...] | None = None

    @flax.struct.dataclass
    class State(auto_state.AutoState["Ari"]):
        """Points per true and predicted group, `i32[b true pred]`."""

        tables: Any = auto_state.concat_field()

        def compute(self) -> np.ndarray | np.floating:
            tables = super().compute().tables
            if tables is None:
                return np.zeros(())
            # Examples without any point say nothing.
            scores = [_ari(table) for table in tables if table.sum() > 0]
            return np.mean(scores) if scores else np.zeros(())

    def get_state(self, predictions: Any, labels: Any, mask: Any = None) -> State:
        num_true, num_pred = self.num_instances_true, self.num_instances_pred
        if num_true is None or num_pred is None:
            raise ValueError("Ari needs `num_instances_true` and `num_instances_pred`.")
        if predictions.shape != labels.shape or labels.ndim < 2:
            raise ValueError(
                "Ari compares groups `i[b *points 1]`: got predictions "
                f"{predictions.shape} and labels {labels.shape}."
            )
        mask = jnp.ones((1,) * labels.ndim, bool) if mask is None else mask
        is_counted = base_state.broadcast_mask(mask, labels.shape) != 0
        ignored = self.ignored_ids if self.ignored_ids is not None else ()
        for label in (ignored,) if isinstance(ignored, int) else ignored:
            is_counted &= labels != label
        size = len(labels)
        labels, predictions, is_counted = (
            jnp.reshape(x, (size, -1)) for x in (labels, predictions, is_counted)
        )
        is_counted &= (labels >= 0) & (labels < num_true)
        is_counted &= (predictions >= 0) & (predictions < num_pred)

        def count(index: Any, is_counted: Any) -> jax.Array:
            flat = jnp.zeros(num_true * num_pred, jnp.int32)
            return flat.at[index].add(is_counted.astype(jnp.int32))

        index = jnp.where(is_counted, labels * num_pred + predictions, 0)
        tables = jax.vmap(count)(index, is_counted)
        return self.State(tables=tables.reshape(size, num_true, num_pred))


def _ari(table: np.ndarray) -> np.ndarray | np.floating:
    """Returns the index of one contingency table, in f64."""
    table = table.astype(np.float64)

    def num_pairs(counts: np.ndarray) -> np.floating:
        return np.sum(counts * (counts - 1) / 2)

    together = num_pairs(table)
    true, pred = num_pairs(table.sum(axis=1)), num_pairs(table.sum(axis=0))
    expected = true * pred / max(num_pairs(table.sum()), 1)
    highest = (true + pred) / 2
    if highest == expected:  # one group, or every point its own, in both
        return np.ones(())
    return (together - expected) / (highest - expected)
