"""Confusion-matrix metrics: counts of (true class, predicted class)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Float, IntOrBool, Num, typechecked
from kauldron.metrics import (
    auto_state,
    base,
    base_state,
    class_ids,
    exact_sums,
    predicted_classes,
)

_Average = Literal["micro", "macro", "per_class"]


@flax.struct.dataclass
class CountState(auto_state.AutoState):
    """How often each true class was predicted as each class.

    Attributes:
      counts: Integers, or floats if the mask is; rows are true classes. The last column
        counts what is predicted as no class: a score is NaN.
    """

    counts: Num["*n classes classes+1"] = auto_state.sum_field()

    def compute(self) -> Any:
        counts = super().compute().counts
        if counts is None:
            num_classes = self.parent.num_classes or 1
            counts = np.zeros((num_classes, num_classes + 1))
        return self.parent._from_counts(np.asarray(counts, np.float64))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix(base.Metric):
    """How often each class was predicted as each class, `Float64["classes classes"]`.

    Rows are true classes, columns predicted ones. The value is not a single number:
    `kd.summaries.ConfusionMatrix` shows it as a picture. An example with a NaN among
    its scores is predicted as no class: it is in no column, but it is part of its row,
    whose fractions add up to less than 1.

    Attributes:
      logits: Key to scores, `Float["*b classes"]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `Int["*b 1"]`; exactly one of both is
        given.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      num_classes: Number of classes; needed with `pred_labels`.
      ignored_label: True label of what is not counted (often 255 or -1). If it is a
        class, predicting it still is wrong.
      normalize: Whether each `'true'` class (row), each `'pred'` class (column), or
        `'all'` add up to 1; NaN where there is nothing. `None` gives counts.

    Raises:
      ValueError: If neither or both of `logits` and `pred_labels` are given, the shapes
        differ, or `num_classes` is unknown.
      LabelError: In `compute`: a label or prediction is not a class.
    """

    logits: kontext.Key | None = None
    pred_labels: kontext.Key | None = None
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_classes: int | None = None
    ignored_label: int | None = None
    normalize: Literal["true", "pred", "all"] | None = None

    State = CountState

    def __post_init__(self) -> None:
        if self.normalize not in ("true", "pred", "all", None):
            raise ValueError(
                "`normalize` must be 'true', 'pred', 'all' or None: got "
                f"{self.normalize!r}."
            )

    @typechecked
    def get_state(
        self,
        labels: IntOrBool["*b 1"],
        logits: Array["*b classes"] | None = None,
        pred_labels: IntOrBool["*b 1"] | None = None,
        mask: Array | float | None = None,
    ) -> base_state.State:
        counts, bad_labels = count_classes(
            self, labels=labels, logits=logits, pred_labels=pred_labels, mask=mask
        )
        return self.State(counts=counts, bad_labels=bad_labels)

    def _from_counts(self, counts: np.ndarray) -> Any:
        predicted = counts[:, :-1]
        if self.normalize is None:
            return predicted
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        counted = predicted if self.normalize == "pred" else counts
        return _divide(predicted, counted.sum(axis=axis, keepdims=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ClassScore(base.Metric):
    logits: kontext.Key | None = None
    pred_labels: kontext.Key | None = None
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_classes: int | None = None
    ignored_label: int | None = None
    average: _Average = "macro"

    State = CountState

    def __post_init__(self) -> None:
        if self.average not in ("micro", "macro", "per_class"):
            raise ValueError(
                "`average` must be 'micro', 'macro' or 'per_class': got "
                f"{self.average!r}."
            )

    @typechecked
    def get_state(
        self,
        labels: IntOrBool["*b 1"],
        logits: Array["*b classes"] | None = None,
        pred_labels: IntOrBool["*b 1"] | None = None,
        mask: Array | float | None = None,
    ) -> base_state.State:
        counts, bad_labels = count_classes(
            self, labels=labels, logits=logits, pred_labels=pred_labels, mask=mask
        )
        return self.State(counts=counts, bad_labels=bad_labels)

    def _from_counts(self, counts: np.ndarray) -> Any:
        ids = np.arange(len(counts))
        ids = ids[ids != self.ignored_label]
        hits = np.diagonal(counts)[ids]
        num_true, num_pred = counts.sum(axis=1)[ids], counts.sum(axis=0)[ids]
        if self.average == "micro":
            return self._divided(hits.sum(), num_true.sum(), num_pred.sum())
        scores = self._divided(hits, num_true, num_pred)
        if self.average == "per_class":
            return dict(zip(map(str, ids), scores, strict=True))
        occurs = num_true + num_pred != 0
        return scores[occurs].mean() if occurs.any() else np.full((), np.nan)

    def _divided(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> np.ndarray:
        """Returns the scores of classes, NaN where a class neither is nor was predicted.

        Of a class that is and was never predicted, or the reverse, all scores are 0.
        """
        score, of = self._score(hits, num_true, num_pred)
        return np.where(
            num_true + num_pred == 0, np.nan, score / np.where(of == 0, 1, of)
        )

    def _score(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> tuple[Float["*c"], Float["*c"]]:
        """Returns the number of correct predictions, and the total."""
        raise NotImplementedError


_ATTRIBUTES = """

    Attributes:
      logits: Key to scores, `Float["*b classes"]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `Int["*b 1"]`; exactly one of both is
        given.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      num_classes: Number of classes; needed with `pred_labels`.
      ignored_label: True label of what is not counted (often 255 or -1). If it is a
        class, predicting it still is wrong for
        the others, but it has no score of its own.
      average: `'macro'`: mean over the classes that occur in labels or predictions.
        `'micro'`: all classes counted together. `'per_class'`: a dict, class id to
        value.

    Returns of `compute`: NaN for a class that occurs neither in labels nor predictions,
    and without any example.

    Raises:
      ValueError: If neither or both of `logits` and `pred_labels` are given, the shapes
        differ, or `num_classes` is unknown.
      LabelError: In `compute`: a label or prediction is no class.
    """


def _documented(cls: type) -> type:
    cls.__doc__ = (cls.__doc__ or "").rstrip() + _ATTRIBUTES
    return cls


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision(_ClassScore):
    """Of the examples predicted as a class, the fraction that belong to it."""

    def _score(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> tuple[Float["*c"], Float["*c"]]:
        return hits, num_pred


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Recall(_ClassScore):
    """Of the examples of a class, the fraction predicted as that class."""

    def _score(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> tuple[Float["*c"], Float["*c"]]:
        return hits, num_true


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class F1(_ClassScore):
    """Harmonic mean of precision and recall."""

    def _score(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> tuple[Float["*c"], Float["*c"]]:
        return hits * 2, num_true + num_pred


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dice(_ClassScore):
    """Dice coefficient of regions over the whole dataset, `2 |A and B| / (|A| + |B|)`.

    Pixels are the examples: `labels` are `Int["*b h w 1"]`.
    """

    def _score(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> tuple[Float["*c"], Float["*c"]]:
        return hits * 2, num_true + num_pred


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanIou(_ClassScore):
    """Intersection over union of regions over the whole dataset.

    Pixels are the examples: `labels` are `Int["*b h w 1"]`.
    """

    def _score(
        self, hits: Float["*c"], num_true: Float["*c"], num_pred: Float["*c"]
    ) -> tuple[Float["*c"], Float["*c"]]:
        return hits, num_true + num_pred - hits


def count_classes(
    metric: ConfusionMatrix | _ClassScore,
    *,
    labels: Array,
    logits: Array | None,
    pred_labels: Array | None,
    mask: Array | float | None,
) -> tuple[jax.Array, class_ids.BadLabels]:
    """Returns the counts of a batch, `(Int32 | Float32)["classes classes+1"]`, and bad
    labels.

    Raises:
      ValueError: If the inputs don't fit, or the number of classes is unknown.
    """
    if logits is None and pred_labels is not None and metric.num_classes is None:
        name = type(metric).__name__
        raise ValueError(f"{name} with `pred_labels` needs `num_classes`.")
    given = predicted_classes.predict(
        metric, labels=labels, logits=logits, pred_labels=pred_labels, mask=mask
    )
    size = given.num_classes or 0
    column = jnp.where(given.preds == predicted_classes.NO_CLASS, size, given.preds)
    index = given.labels * (size + 1) + column
    # Integers, where the mask allows: f32 would stop counting pixels at 2^24.
    counts = exact_sums.sum_by_index(
        given.mask.ravel(), index.ravel(), size * (size + 1)
    )
    return counts.reshape(size, size + 1), given.bad_labels


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the quotient, NaN for 0 / 0."""
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)
