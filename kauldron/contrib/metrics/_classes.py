"""Multi-label classification metrics."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array
from kauldron.metrics import arrays, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointAccuracy(metrics.Metric):
    """Share of the examples for which every one of several classes is right.

    Attributes:
      logits: Key to scores, `Float["*b n classes"]`; n are decided about together.
      labels: Key to class ids, `Int["*b n 1"]`.
      mask: Key to which decisions count, `Array["*b n 1"]` or `Array["*b n"]`. An
        example with none that count is left out.

    Raises:
      ValueError: If the shapes don't fit.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    def get_state(
        self, logits: Array, labels: Array, mask: Array | float | None = None
    ) -> State:
        if logits.ndim < 2 or labels.shape != (*logits.shape[:-1], 1):
            raise ValueError(
                "JointAccuracy needs logits `f[*b n classes]` and labels `i[*b n 1]`: "
                f"got {logits.shape} (key {self.logits!r}) and {labels.shape} (key "
                f"{self.labels!r})."
            )
        is_right = jnp.argmax(logits, axis=-1) == labels[..., 0]
        # A diverged model is never right, whatever argmax makes of it.
        is_right &= ~jnp.isnan(logits).any(axis=-1)
        if mask is None:
            return self.State.from_values(is_right.all(axis=-1))
        counts = base_state.broadcast_mask(mask, is_right.shape).astype(bool)
        is_right = (is_right | ~counts).all(axis=-1)
        return self.State.from_values(is_right, mask=counts.any(axis=-1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultilabelAveragePrecision(metrics.Metric):
    """Mean over classes of the average precision, for examples of several classes.

    Exact, ties included: every score is kept in host memory. Classes without a positive
    example are left out of the mean.

    Attributes:
      logits: Key to scores, `Float["*b classes"]`; only their order matters.
      labels: Key to which classes an example has, `Array["*b classes"]`, 0 or 1.
      mask: Key to which of these count, `Array["*b classes"]` or `Array["*b 1"]`.

    Returns of `compute`: a number in [0, 1]; NaN if no class has a positive, or a score
    that counts is NaN.

    Raises:
      ValueError: If the shapes don't fit.

    Reference: `sklearn.metrics.average_precision_score(average='macro')`.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.AutoState["MultilabelAveragePrecision"]):
        """All scores seen: `Float["n classes"]`, with labels and weights of that
        shape."""

        logits: Any = metrics.concat_field()
        labels: Any = metrics.concat_field()
        weights: Any = metrics.concat_field()

        def compute(self) -> np.ndarray:
            data = super().compute()
            if data.logits is None:
                return np.full((), np.nan)
            columns = zip(data.logits.T, data.labels.T, data.weights.T, strict=True)
            values = [average_precision(*column) for column in columns]
            values = [value for value in values if value is not None]
            return np.mean(values) if values else np.full((), np.nan)

    def get_state(
        self, logits: Array, labels: Array, mask: Array | float | None = None
    ) -> State:
        if logits.shape != labels.shape or logits.ndim < 1:
            raise ValueError(
                "MultilabelAveragePrecision needs logits and labels `[*b classes]`: got "
                f"{logits.shape} (key {self.logits!r}) and {labels.shape} (key "
                f"{self.labels!r})."
            )
        logits = arrays.to_float(logits)
        mask = jnp.ones(labels.shape) if mask is None else mask
        weights = base_state.broadcast_mask(mask, labels.shape).astype(logits.dtype)
        rows = [x.reshape(-1, labels.shape[-1]) for x in (logits, labels, weights)]
        return self.State(logits=rows[0], labels=rows[1], weights=rows[2])


def average_precision(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> np.floating | float | None:
    """Returns the sum of precision times gain of recall over thresholds, all f64.

    Returns:
      The average precision; NaN if a score is NaN; `None` if there is no positive.
    """
    is_counted = weights != 0
    scores, labels = scores[is_counted], labels[is_counted] != 0
    weights = weights[is_counted].astype(np.float64)
    if not labels.any():
        return None
    if np.isnan(scores).any():
        return float("nan")
    different, index = np.unique(scores, return_inverse=True)
    positives = np.bincount(index, weights * labels, len(different))[::-1]
    alls = np.bincount(index, weights, len(different))[::-1]
    hits = np.cumsum(positives)
    return np.sum(hits / np.cumsum(alls) * positives) / hits[-1]
