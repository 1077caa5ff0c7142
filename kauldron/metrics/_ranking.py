"""Areas under curves, exact: all scores are collected."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Literal

import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.metrics import _classification, auto_state, base, base_state


@flax.struct.dataclass
class ScoreState(auto_state.AutoState):
    """All scores seen.

    Attributes:
      logits: `f32[n classes]`.
      labels: `i32[n]`.
      weights: `f32[n]`.
    """

    logits: Any = auto_state.concat_field()
    labels: Any = auto_state.concat_field()
    weights: Any = auto_state.concat_field()

    def compute(self) -> np.ndarray | np.floating:
        data = super().compute()
        if data.logits is None:
            return np.zeros(())
        is_counted = data.weights != 0
        logits = data.logits[is_counted].astype(np.float64)
        weights = data.weights[is_counted].astype(np.float64)
        return self.parent._from_scores(logits, data.labels[is_counted], weights)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RocAuc(base.Metric):
    """Area under the ROC curve: the chance that a positive outranks a negative.

    With several classes, scores are made probabilities over the classes that occur, and
    the areas are averaged. Exact, ties included: every score is kept in host memory.

    Attributes:
      logits: Key to unnormalised scores, `f[*b classes]`, or `f[*b 1]` for the score of
        class 1 of two.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.
      unique_labels: The classes to look at: examples of others don't count. `None`
        takes those that occur.
      multi_class_mode: `'ovr'`: each class against the rest. `'ovo'`: each pair of
        classes, both ways.

    Returns of `compute`: the area in [0, 1]; 0 if fewer than two classes occur.

    Reference: Fawcett 2006, An introduction to ROC analysis; Hand and Till 2001 for
    `'ovo'`.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    unique_labels: tuple[int, ...] | None = None
    multi_class_mode: Literal["ovr", "ovo"] = "ovr"

    State = ScoreState

    def __post_init__(self) -> None:
        if self.multi_class_mode not in ("ovr", "ovo"):
            raise ValueError(
                "`multi_class_mode` must be 'ovr' or 'ovo': got "
                f"{self.multi_class_mode!r}."
            )

    def get_state(self, logits: Any, labels: Any, mask: Any = None) -> ScoreState:
        return _collect(self, logits, labels, mask)

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
            return np.zeros(())
        if logits.shape[-1] == 1:
            return _roc_auc(logits[:, 0], labels == classes[1], weights)
        if self.multi_class_mode == "ovr" or len(classes) == 2:
            return _mean_over_classes(_roc_auc, logits, labels, weights, classes)
        areas = []
        probs = _softmax(logits)
        for i, j in itertools.permutations(range(len(classes)), 2):
            at = (labels == classes[i]) | (labels == classes[j])
            areas.append(_roc_auc(probs[at, i], labels[at] == classes[i], weights[at]))
        return np.mean(areas)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrAuc(base.Metric):
    """Average precision: the area under the precision-recall curve, as a step function.

    With two classes that of class 1; with more, the mean of each class against the rest.
    Exact, ties included: every score is kept in host memory.

    Attributes:
      logits: Key to unnormalised scores, `f[*b classes]`, or `f[*b 1]` for the score of
        class 1 of two.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.

    Returns of `compute`: the area in [0, 1]. Classes that don't occur are left out; 0 if
    there is no positive at all.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    State = ScoreState

    def get_state(self, logits: Any, labels: Any, mask: Any = None) -> ScoreState:
        return _collect(self, logits, labels, mask)

    def _from_scores(
        self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
    ) -> np.ndarray | np.floating:
        if logits.shape[-1] == 1:
            return _average_precision(logits[:, 0], labels == 1, weights)
        probs = _softmax(logits)
        if logits.shape[-1] == 2:
            return _average_precision(probs[:, 1], labels == 1, weights)
        areas = [
            _average_precision(probs[:, c], labels == c, weights)
            for c in np.unique(labels)
        ]
        return np.mean(areas) if areas else np.zeros(())


def _collect(metric: Any, logits: Any, labels: Any, mask: Any) -> ScoreState:
    _classification.check_int_labels(metric, logits=logits, labels=labels)
    logits = jnp.asarray(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    mask = jnp.ones(labels.shape) if mask is None else mask
    weights = base_state.broadcast_mask(mask, labels.shape).astype(logits.dtype)
    return metric.State(
        logits=logits.reshape(-1, logits.shape[-1]),
        labels=jnp.asarray(labels).ravel(),
        weights=weights.ravel(),
    )


def _mean_over_classes(
    area: Callable[..., np.ndarray],
    logits: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    classes: np.ndarray,
) -> np.floating:
    probs = _softmax(logits)
    areas = [area(probs[:, i], labels == c, weights) for i, c in enumerate(classes)]
    return np.mean(areas)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


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
        return np.zeros(())
    return np.sum(positives * (below + negatives / 2)) / num_pairs


def _average_precision(
    scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    positives, negatives = _count_by_score(scores, is_positive, weights)
    positives, negatives = positives[::-1], negatives[::-1]
    hits = np.cumsum(positives)
    if not len(hits) or hits[-1] == 0:
        return np.zeros(())
    precision = hits / np.maximum(hits + np.cumsum(negatives), 1e-300)
    return np.sum(precision * positives) / hits[-1]
