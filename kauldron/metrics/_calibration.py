"""Calibration error: how well confidence matches accuracy."""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Float, IntOrBool, typechecked
from kauldron.metrics import (
    arrays,
    auto_state,
    base,
    class_ids,
    exact_sums,
    predicted_classes,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationError(base.Metric):
    """The gap between confidence and accuracy, over bins of equal width.

    Confidence is the probability of the predicted class.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b classes"]`.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      num_bins: Number of bins of the confidence; bin i is `(i, i + 1] / num_bins`.
      norm: `'l1'`: mean of the gaps, weighted by examples (the expected calibration
        error). `'l2'`: root of the mean square. `'max'`: the largest gap.
      ignored_label: Label of what is not counted (often 255 or -1).

    Returns of `compute`: the error in [0, 1]; NaN if a score is NaN, or without
    examples.

    Raises:
      ValueError: If the shapes don't fit, or a parameter is none of these.
      LabelError: In `compute`: a label is not a class.

    Reference: Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3,
    arXiv:1706.04599.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_bins: int = 15
    norm: Literal["l1", "l2", "max"] = "l1"
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(auto_state.AutoState["CalibrationError"]):
        """Sums per bin."""

        count: Float["*n num_bins"] = auto_state.sum_field()
        confidence: Float["*n num_bins"] = auto_state.sum_field()
        correct: Float["*n num_bins"] = auto_state.sum_field()

        def compute(self) -> np.ndarray:
            sums = super().compute()
            if sums.count is None or not np.any(sums.count):
                return np.full((), np.nan)
            count = np.asarray(sums.count, np.float64)
            gap = np.abs(sums.correct - sums.confidence) / np.where(count > 0, count, 1)
            if self.parent.norm == "max":
                return gap.max()
            share = count / count.sum()
            if self.parent.norm == "l1":
                return np.sum(share * gap)
            return np.sqrt(np.sum(share * gap**2))

    def __post_init__(self) -> None:
        if self.num_bins < 1 or self.norm not in ("l1", "l2", "max"):
            raise ValueError(
                "CalibrationError needs `num_bins >= 1` and `norm` 'l1', 'l2' or 'max': "
                f"got num_bins={self.num_bins}, norm={self.norm!r}."
            )

    @typechecked
    def get_state(
        self,
        logits: Array["*b classes"],
        labels: IntOrBool["*b 1"],
        mask: Array | float | None = None,
    ) -> State:
        predicted_classes.check_shapes(self, logits=logits, labels=labels)
        checked = class_ids.check_labels(
            labels,
            num_classes=logits.shape[-1],
            mask=mask,
            ignored_label=self.ignored_label,
            owner=self,
        )
        # In f32 at least: in bf16, a confidence of 0.997 would be 1.
        probs = jax.nn.softmax(arrays.to_float(logits))
        confidence = probs.max(axis=-1).ravel()
        is_right = (predicted_classes.best_class(logits) == checked.ids).ravel()
        weight = checked.mask.ravel().astype(probs.dtype)
        index = jnp.ceil(confidence * self.num_bins).astype(jnp.int32) - 1
        index = jnp.clip(index, 0, self.num_bins - 1)

        def sum_bins(values: Array | float) -> jax.Array:
            values = jnp.asarray(values, weight.dtype)
            weighed = jnp.where(weight == 0, 0, weight * values)
            return exact_sums.sum_by_index(weighed, index, self.num_bins)

        return self.State(
            count=sum_bins(1.0),
            confidence=sum_bins(confidence),
            correct=sum_bins(is_right),
            bad_labels=checked.bad_labels,
        )
