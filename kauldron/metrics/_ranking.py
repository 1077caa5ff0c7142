"""ROC AUC and precision-recall AUC, exact: all scores are collected.

Of several columns, classes are ranked by their log-odds, `log(p / (1 - p))`: probabilities
have the same order, but in floating point they round to 1, which creates ties.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import flax.struct
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Float, Int32, IntOrBool, typechecked
from kauldron.metrics import arrays, auto_state, base, class_ids, predicted_classes


@flax.struct.dataclass
class ScoreState(auto_state.AutoState):
    """All scores seen.

    Attributes:
      logits: Scores of each example.
      labels: Class ids.
      weights: 0 for what does not count.
    """

    logits: Float["*n classes"] = auto_state.concat_field()
    labels: Int32["*n"] = auto_state.concat_field()
    weights: Float["*n"] = auto_state.concat_field()

    def compute(self) -> np.ndarray | np.floating:
        data = super().compute()
        if data.logits is None:
            return np.full((), np.nan)
        is_counted = data.weights != 0
        logits = data.logits[is_counted].astype(np.float64)
        weights = data.weights[is_counted].astype(np.float64)
        if np.isnan(logits).any():
            return np.full((), np.nan)
        return self.parent._from_scores(logits, data.labels[is_counted], weights)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RocAuc(base.Metric):
    """Area under the ROC curve: the chance that a positive outranks a negative.

    With several classes, each is ranked by its log-odds against the others that occur,
    and the areas are averaged. Exact, ties included: every score is kept in host
    memory.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b classes"]`, or `Float["*b 1"]` for
        the score of class 1 of two.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      unique_labels: The classes to look at: examples of others don't count. `None`
        takes those that occur.
      multi_class_mode: `'ovr'`: each class against the rest. `'ovo'`: each pair of
        classes, both ways.
      ignored_label: Label of what is not counted (often 255 or -1).

    Returns of `compute`: the area in [0, 1]; NaN if fewer than two classes occur, or
    any score is NaN.

    Raises:
      ValueError: If the shapes don't fit.
      LabelError: In `compute`: a label is not a class.

    Reference: Fawcett 2006, An introduction to ROC analysis; Hand and Till 2001 for
    `'ovo'`.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    unique_labels: tuple[int, ...] | None = None
    multi_class_mode: Literal["ovr", "ovo"] = "ovr"
    ignored_label: int | None = None

    State = ScoreState

    def __post_init__(self) -> None:
        if self.multi_class_mode not in ("ovr", "ovo"):
            raise ValueError(
                "`multi_class_mode` must be 'ovr' or 'ovo': got "
                f"{self.multi_class_mode!r}."
            )

    @typechecked
    def get_state(
        self,
        logits: Array["*b classes"],
        labels: IntOrBool["*b 1"],
        mask: Array | float | None = None,
    ) -> ScoreState:
        num_classes = logits.shape[-1]
        if num_classes == 1:
            num_classes = max((1, *(self.unique_labels or ()))) + 1
        return _collect(self, logits, labels, mask, num_classes=num_classes)

    def _from_scores(
        self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> np.ndarray | np.floating:
        if self.unique_labels is not None:
            keep = np.isin(labels, self.unique_labels)
            logits, labels, weights = logits[keep], labels[keep], weights[keep]
        classes = np.unique(labels)
        if logits.shape[-1] > 1:
            logits = logits[:, classes]
        if len(classes) < 2:
            return np.full((), np.nan)
        if logits.shape[-1] == 1:
            return _roc_auc(logits[:, 0], labels == classes[1], weights)
        odds = _log_odds(logits)
        if self.multi_class_mode == "ovr" or len(classes) == 2:
            areas = [
                _roc_auc(odds[:, i], labels == c, weights)
                for i, c in enumerate(classes)
            ]
            return np.mean(areas)
        areas = []
        for i, j in itertools.permutations(range(len(classes)), 2):
            at = (labels == classes[i]) | (labels == classes[j])
            areas.append(_roc_auc(odds[at, i], labels[at] == classes[i], weights[at]))
        return np.mean(areas)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrAuc(base.Metric):
    """Average precision: the area under the precision-recall curve, as a step function.

    With two classes that of class 1; with more, the mean of each class against the
    rest, ranked by log-odds. Exact, ties included: every score is kept in host memory.

    Attributes:
      logits: Key to unnormalised scores, `Float["*b classes"]`, or `Float["*b 1"]` for
        the score of class 1 of two.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      ignored_label: Label of what is not counted (often 255 or -1).

    Returns of `compute`: the area in [0, 1]. Classes that don't occur are left out; NaN
    if there is no positive at all, or any score is NaN.

    Raises:
      ValueError: If the shapes don't fit.
      LabelError: In `compute`: a label is not a class.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    ignored_label: int | None = None

    State = ScoreState

    @typechecked
    def get_state(
        self,
        logits: Array["*b classes"],
        labels: IntOrBool["*b 1"],
        mask: Array | float | None = None,
    ) -> ScoreState:
        num_classes = max(logits.shape[-1], 2)
        return _collect(self, logits, labels, mask, num_classes=num_classes)

    def _from_scores(
        self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> np.ndarray | np.floating:
        if logits.shape[-1] == 1:
            return _average_precision(logits[:, 0], labels == 1, weights)
        odds = _log_odds(logits)
        if logits.shape[-1] == 2:
            return _average_precision(odds[:, 1], labels == 1, weights)
        areas = [
            _average_precision(odds[:, c], labels == c, weights)
            for c in np.unique(labels)
        ]
        return np.mean(areas) if areas else np.full((), np.nan)


def _collect(
    metric: RocAuc | PrAuc,
    logits: Array["*b classes"],
    labels: IntOrBool["*b 1"],
    mask: Array | float | None,
    *,
    num_classes: int,
) -> ScoreState:
    predicted_classes.check_shapes(metric, logits=logits, labels=labels)
    checked = class_ids.check_labels(
        labels,
        num_classes=num_classes,
        mask=mask,
        ignored_label=metric.ignored_label,
        owner=metric,
    )
    logits = arrays.to_float(logits)
    return metric.State(
        logits=logits.reshape(-1, logits.shape[-1]),
        labels=checked.ids.ravel(),
        weights=checked.mask.ravel().astype(logits.dtype),
        bad_labels=checked.bad_labels,
    )


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Returns `log(p / (1 - p))` of the softmax, `Float64["n classes"]`; `logits` are
    `f64`.

    Differences below the precision of p stay. Infinite scores are above all others, and
    equal. A row of -inf alone is NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        high = logits.max(axis=-1, keepdims=True)
        shifted = np.where(logits == np.inf, 0, logits - high)
        logprobs = shifted - _log_sum_exp(shifted)
        odds = logprobs - np.log1p(-np.exp(logprobs))
        # Where p > 1/2, 1 - p has lost its digits: it is summed from the others.
        is_sure = logprobs > np.log(0.5)
        others = np.where(is_sure, -np.inf, shifted)
        return np.where(is_sure, shifted - _log_sum_exp(others), odds)


def _log_sum_exp(x: np.ndarray) -> np.ndarray:
    high = x.max(axis=-1, keepdims=True)
    high = np.where(high == -np.inf, 0, high)
    return high + np.log(np.exp(x - high).sum(axis=-1, keepdims=True))


def _count_by_score(
    scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights of positives and negatives at each different score, ascending."""
    different, index = np.unique(scores, return_inverse=True)
    positives = np.bincount(index, weights * is_positive, len(different))
    return positives, np.bincount(index, weights * ~is_positive, len(different))


def _roc_auc(
    scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    positives, negatives = _count_by_score(scores, is_positive, weights)
    below = np.cumsum(negatives) - negatives
    num_pairs = positives.sum() * negatives.sum()
    if num_pairs == 0:
        return np.full((), np.nan)
    return np.sum(positives * (below + negatives / 2)) / num_pairs


def _average_precision(
    scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    positives, negatives = _count_by_score(scores, is_positive, weights)
    positives, negatives = positives[::-1], negatives[::-1]
    hits = np.cumsum(positives)
    if not len(hits) or hits[-1] == 0:
        return np.full((), np.nan)
    precision = hits / np.maximum(hits + np.cumsum(negatives), 1e-300)
    return np.sum(precision * positives) / hits[-1]
