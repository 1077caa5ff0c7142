"""Metrics of counts of (true class, predicted class)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.metrics import _accumulate, auto_state, base, base_state

_Average = Literal["micro", "macro", "per_class"]


@flax.struct.dataclass
class CountState(auto_state.AutoState):
    """How often each true class was predicted as each class.

    Attributes:
      counts: `i32[classes classes]`, `f32` if the mask is; rows are true classes.
    """

    counts: Any = auto_state.sum_field()

    def compute(self) -> Any:
        counts = super().compute().counts
        if counts is None:
            counts = np.zeros((self.parent.num_classes or 1,) * 2)
        return self.parent._from_counts(np.asarray(counts, np.float64))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix(base.Metric):
    """How often each class was predicted as each class, `f64[classes classes]`.

    Rows are true classes, columns predicted ones. The value is no single number:
    `kd.summaries.ConfusionMatrix` shows it as a picture.

    Attributes:
      logits: Key to scores, `f[*b classes]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `i[*b 1]`; exactly one of both is given.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.
      num_classes: Number of classes; needed with `pred_labels`.
      ignored_label: True label of what is not counted (often 255 or -1).
      normalize: Whether each `'true'` class (row), each `'pred'` class (column), or
        `'all'` add up to 1; `None` gives counts.

    Raises:
      ValueError: If neither or both of `logits` and `pred_labels` are given, the shapes
        differ, or `num_classes` is unknown.
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

    def get_state(
        self,
        labels: Any,
        logits: Any = None,
        pred_labels: Any = None,
        mask: Any = None,
    ) -> CountState:
        counts = count_classes(
            self, labels=labels, logits=logits, pred_labels=pred_labels, mask=mask
        )
        return self.State(counts=counts)

    def _from_counts(self, counts: np.ndarray) -> Any:
        axis = {"true": 1, "pred": 0, "all": None}
        if self.normalize is None:
            return counts
        return _divide(counts, counts.sum(axis=axis[self.normalize], keepdims=True))


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

    def get_state(
        self,
        labels: Any,
        logits: Any = None,
        pred_labels: Any = None,
        mask: Any = None,
    ) -> CountState:
        counts = count_classes(
            self, labels=labels, logits=logits, pred_labels=pred_labels, mask=mask
        )
        return self.State(counts=counts)

    def _from_counts(self, counts: np.ndarray) -> Any:
        hits = np.diagonal(counts)
        num_true, num_pred = counts.sum(axis=1), counts.sum(axis=0)
        if self.average == "micro":
            return self._score(hits.sum(), num_true.sum(), num_pred.sum())
        scores = self._score(hits, num_true, num_pred)
        if self.average == "per_class":
            return {str(i): score for i, score in enumerate(scores)}
        is_present = (num_true + num_pred) > 0
        return scores[is_present].mean() if is_present.any() else np.zeros(())

    def _score(self, hits: Any, num_true: Any, num_pred: Any) -> np.ndarray:
        raise NotImplementedError


_ATTRIBUTES = """

    Attributes:
      logits: Key to scores, `f[*b classes]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `i[*b 1]`; exactly one of both is given.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.
      num_classes: Number of classes; needed with `pred_labels`.
      ignored_label: True label of what is not counted (often 255 or -1).
      average: `'macro'`: mean over the classes that occur in labels or predictions.
        `'micro'`: all classes counted together. `'per_class'`: a dict, class id to
        value.

    Raises:
      ValueError: If neither or both of `logits` and `pred_labels` are given, the shapes
        differ, or `num_classes` is unknown.
    """


def _documented(cls: type) -> type:
    cls.__doc__ = (cls.__doc__ or "").rstrip() + _ATTRIBUTES
    return cls


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision(_ClassScore):
    """Of what was predicted as a class, the fraction that is; 0 if nothing was."""

    def _score(self, hits: Any, num_true: Any, num_pred: Any) -> np.ndarray:
        return _divide(hits, num_pred)


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Recall(_ClassScore):
    """Of what is of a class, the fraction that was predicted so; 0 if nothing is."""

    def _score(self, hits: Any, num_true: Any, num_pred: Any) -> np.ndarray:
        return _divide(hits, num_true)


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class F1(_ClassScore):
    """Harmonic mean of precision and recall; 0 for a class that does not occur."""

    def _score(self, hits: Any, num_true: Any, num_pred: Any) -> np.ndarray:
        return _divide(2 * hits, num_true + num_pred)


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class Dice(_ClassScore):
    """Dice coefficient of regions over the whole dataset, `2 |A and B| / (|A| + |B|)`.

    Pixels are the examples: `labels` are `i[*b h w 1]`.
    """

    def _score(self, hits: Any, num_true: Any, num_pred: Any) -> np.ndarray:
        return _divide(2 * hits, num_true + num_pred)


@_documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanIou(_ClassScore):
    """Intersection over union of regions over the whole dataset.

    Pixels are the examples: `labels` are `i[*b h w 1]`.
    """

    def _score(self, hits: Any, num_true: Any, num_pred: Any) -> np.ndarray:
        return _divide(hits, num_true + num_pred - hits)


def count_classes(
    metric: Any, *, labels: Any, logits: Any, pred_labels: Any, mask: Any
) -> jax.Array:
    """Returns the confusion matrix of a batch, `i32|f32[classes classes]`.

    Labels out of range are not counted.
    """
    name = type(metric).__name__
    if (logits is None) == (pred_labels is None):
        raise ValueError(
            f"{name} needs exactly one of `logits` and `pred_labels`: got "
            + ("neither." if logits is None else "both.")
        )
    num_classes = metric.num_classes
    if logits is not None:
        pred_labels = jnp.argmax(logits, axis=-1, keepdims=True)
        num_classes = num_classes or logits.shape[-1]
    if num_classes is None:
        raise ValueError(f"{name} with `pred_labels` needs `num_classes`.")
    if pred_labels.shape != labels.shape:
        raise ValueError(
            f"{name} compares `i[*b 1]` labels: the predictions have shape "
            f"{pred_labels.shape}, the labels {labels.shape}. Add the last axis "
            "with `kd.data.Rearrange(key='label', pattern='... -> ... 1')`."
        )
    labels, pred_labels = jnp.asarray(labels), jnp.asarray(pred_labels)
    # Integers, where the mask allows: f32 would stop counting pixels at 2^24.
    weights = jnp.ones(labels.shape, jnp.int32)
    if mask is not None:
        weights = base_state.broadcast_mask(mask, labels.shape)
        is_float = jnp.issubdtype(weights.dtype, jnp.floating)
        weights = weights.astype(jnp.float32 if is_float else jnp.int32)
    is_counted = (labels >= 0) & (labels < num_classes)
    is_counted &= (pred_labels >= 0) & (pred_labels < num_classes)
    if metric.ignored_label is not None:
        is_counted &= labels != metric.ignored_label
    weights = jnp.where(is_counted, weights, 0)
    index = jnp.where(is_counted, labels * num_classes + pred_labels, 0)
    counts = _accumulate.sum_by_index(weights.ravel(), index.ravel(), num_classes**2)
    return counts.reshape(num_classes, num_classes)


def _divide(a: Any, b: Any) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a / np.where(b == 0, 1, b)
