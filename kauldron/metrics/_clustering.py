"""Clustering agreement: the adjusted Rand index, invariant to cluster numbering."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Int, IntOrBool, typechecked
from kauldron.metrics import auto_state, base, base_state, class_ids


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ari(base.Metric):
    """Adjusted Rand index of segmentations, averaged over examples.

    1 for equal groupings, about 0 for unrelated ones. All axes after the first are
    points of one example: an image, or a video. Examples without any point are left
    out.

    Attributes:
      predictions: Key to predicted groups, `Int["b *points 1"]`.
      labels: Key to true groups, of the same shape.
      mask: Key to which points count, `Array["b *points"]` or with axes of 1. (Not
        weights.)
      num_instances_true: Labels are in `[0, num_instances_true)`.
      num_instances_pred: Predictions are in `[0, num_instances_pred)`.
      ignored_ids: True groups that don't count, such as the background.

    Returns of `compute`: NaN without any example.

    Raises:
      ValueError: If the shapes differ, or a number of groups is missing.
      LabelError: In `compute`: a group is out of range.

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
        """Points per true and predicted group."""

        tables: Int["*b true pred"] = auto_state.concat_field()

        def compute(self) -> np.ndarray | np.floating:
            tables = super().compute().tables
            scores = [_ari(t) for t in ([] if tables is None else tables) if t.any()]
            return np.mean(scores) if scores else np.full((), np.nan)

    @typechecked
    def get_state(
        self,
        predictions: IntOrBool["b *points 1"],
        labels: IntOrBool["b *points 1"],
        mask: Array | float | None = None,
    ) -> State:
        num_true, num_pred = self.num_instances_true, self.num_instances_pred
        if num_true is None or num_pred is None:
            raise ValueError("Ari needs `num_instances_true` and `num_instances_pred`.")
        if predictions.shape != labels.shape or labels.ndim < 2:
            raise ValueError(
                "Ari compares groups `i[b *points 1]`: got predictions "
                f"{predictions.shape} and labels {labels.shape}."
            )
        # What counts are points, each once.
        mask = jnp.ones((1,) * labels.ndim) if mask is None else mask
        mask = base_state.broadcast_mask(mask, labels.shape).astype(bool)
        true = class_ids.check_labels(
            labels,
            num_classes=num_true,
            mask=mask,
            ignored_label=self.ignored_ids,
            owner=self,
        )
        pred = class_ids.check_labels(
            predictions,
            num_classes=num_pred,
            mask=true.mask,
            owner=self,
            field="predictions",
        )
        size, num_points = len(labels), int(np.prod(labels.shape[1:]))

        def count(index: Array, points: Array) -> jax.Array:
            return jnp.zeros(num_true * num_pred, jnp.int32).at[index].add(points)

        index = (true.ids * num_pred + pred.ids).reshape(size, num_points)
        points = pred.mask.astype(jnp.int32).reshape(size, num_points)
        tables = jax.vmap(count)(index, points)
        return self.State(
            tables=tables.reshape(size, num_true, num_pred),
            bad_labels=true.bad_labels.merge(pred.bad_labels),
        )


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
