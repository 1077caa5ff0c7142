"""Metrics of class predictions."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.metrics import _accumulate, auto_state, base, base_state


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


def check_int_labels(metric: base.Metric, *, logits: Any, labels: Any) -> None:
    """Raises unless logits are `[*b classes]` and labels integers `[*b 1]`.

    Raises:
      ValueError: If they are not.
    """
    name = type(metric).__name__
    if labels.shape != (*logits.shape[:-1], 1):
        raise ValueError(
            f"{name} needs logits `f[*b classes]` and labels `i[*b 1]`: got logits "
            f"{logits.shape} and labels {labels.shape}. Add the last axis with "
            "`kd.data.Rearrange(key='label', pattern='... -> ... 1')`."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{name} needs integer labels: got {labels.dtype}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopKAccuracy(base.Metric):
    """Fraction of examples whose label is among the `k` highest scores.

    Of equal scores, the lower class id counts as higher, as in `argmax`.

    Attributes:
      logits: Key to scores, `f[*b classes]`.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.
      k: How many, >= 1.

    Raises:
      ValueError: If the shapes don't fit, or `k < 1`.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    k: int = 5

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"`k` of TopKAccuracy must be at least 1: got {self.k}.")

    def get_state(self, logits: Any, labels: Any, mask: Any = None) -> State:
        check_int_labels(self, logits=logits, labels=labels)
        score = jnp.take_along_axis(logits, labels, axis=-1)
        is_before = jnp.arange(logits.shape[-1]) < labels
        is_above = (logits > score) | ((logits == score) & is_before)
        rank = is_above.sum(axis=-1, keepdims=True)
        return self.State.from_values(rank < self.k, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision1(base.Metric):
    """Fraction of examples whose highest score is at one of several right classes.

    Attributes:
      logits: Key to scores, `f[*b n]`.
      labels: Key to 1 for right classes and 0 elsewhere, `[*b n]`.
      mask: Key to weights, `[*b 1]`.

    Raises:
      ValueError: If the shapes differ.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    def get_state(self, logits: Any, labels: Any, mask: Any = None) -> State:
        _check_same_shape(self, logits, labels)
        best = jnp.argmax(logits, axis=-1, keepdims=True)
        values = jnp.take_along_axis(jnp.asarray(labels), best, axis=-1)
        return self.State.from_values(values, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BinaryAccuracy(base.Metric):
    """Fraction of elements where `logits > 0` agrees with the label.

    Attributes:
      logits: Key to log-odds, `f[*a]`.
      labels: Key to 0 or 1, of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.

    Raises:
      ValueError: If the shapes differ.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    def get_state(self, logits: Any, labels: Any, mask: Any = None) -> State:
        _check_same_shape(self, logits, labels)
        is_right = (jnp.asarray(logits) > 0) == (jnp.asarray(labels) > 0)
        return self.State.from_values(is_right, mask=mask)


def _check_same_shape(metric: base.Metric, logits: Any, labels: Any) -> None:
    if logits.shape != labels.shape:
        raise ValueError(
            f"{type(metric).__name__} needs logits and labels of the same shape: got "
            f"{logits.shape} and {labels.shape}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationError(base.Metric):
    """How far confidence and accuracy are apart, over bins of equal width.

    Confidence is the probability of the predicted class.

    Attributes:
      logits: Key to unnormalised scores, `f[*b classes]`.
      labels: Key to class ids, `i[*b 1]`.
      mask: Key to weights, `[*b 1]`.
      num_bins: Number of bins of the confidence; bin i is `(i, i + 1] / num_bins`.
      norm: `'l1'`: mean of the gaps, weighted by examples (the expected calibration
        error). `'l2'`: root of the mean square. `'max'`: the largest gap.

    Raises:
      ValueError: If the shapes don't fit, or a parameter is none of these.

    Reference: Guo et al. 2017, On Calibration of Modern Neural Networks, eq. 3,
    arXiv:1706.04599.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_bins: int = 15
    norm: Literal["l1", "l2", "max"] = "l1"

    @flax.struct.dataclass
    class State(auto_state.AutoState["CalibrationError"]):
        """Sums per bin, `f32[num_bins]` each."""

        count: Any = auto_state.sum_field()
        confidence: Any = auto_state.sum_field()
        correct: Any = auto_state.sum_field()

        def compute(self) -> np.ndarray:
            sums = super().compute()
            if sums.count is None:
                return np.zeros(())
            count = np.asarray(sums.count, np.float64)
            gap = np.abs(sums.correct - sums.confidence) / np.where(count > 0, count, 1)
            if self.parent.norm == "max":
                return gap.max()
            share = count / max(count.sum(), 1e-30)
            if self.parent.norm == "l1":
                return np.sum(share * gap)
            return np.sqrt(np.sum(share * gap**2))

    def __post_init__(self) -> None:
        if self.num_bins < 1 or self.norm not in ("l1", "l2", "max"):
            raise ValueError(
                "CalibrationError needs `num_bins >= 1` and `norm` 'l1', 'l2' or 'max': "
                f"got num_bins={self.num_bins}, norm={self.norm!r}."
            )

    def get_state(self, logits: Any, labels: Any, mask: Any = None) -> State:
        check_int_labels(self, logits=logits, labels=labels)
        logits = jnp.asarray(logits)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        probs = jax.nn.softmax(logits)
        confidence = probs.max(axis=-1).ravel()
        is_right = (jnp.argmax(logits, axis=-1) == labels[..., 0]).ravel()
        mask = jnp.ones(labels.shape) if mask is None else mask
        weight = base_state.broadcast_mask(mask, labels.shape).ravel()
        weight = weight.astype(probs.dtype)
        index = jnp.ceil(confidence * self.num_bins).astype(jnp.int32) - 1
        index = jnp.clip(index, 0, self.num_bins - 1)

        def sum_bins(values: Any) -> jax.Array:
            values = jnp.where(weight == 0, 0, weight * values)
            return _accumulate.sum_by_index(values, index, self.num_bins)

        return self.State(
            count=sum_bins(1.0),
            confidence=sum_bins(confidence),
            correct=sum_bins(is_right),
        )
