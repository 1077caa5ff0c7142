"""Predicted class ids paired with true ones, from scores or as ids."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Bool, Int32, typechecked
from kauldron.metrics import class_ids, shared_parts

NO_CLASS = -1


class OfClasses(Protocol):
    """A metric of class ids: the keys that messages name, and what is left out."""

    @property
    def logits(self) -> str | None: ...
    @property
    def labels(self) -> str: ...
    @property
    def ignored_label(self) -> int | None: ...


class Predictions(NamedTuple):
    """What was predicted, and what is true.

    Attributes:
      preds: Predicted classes, `Int32["*b 1"]`; `NO_CLASS` where scores hold a NaN, or
        where an ignored label was predicted that is not a class.
      labels: True classes, `Int32["*b 1"]`; 0 where nothing counts.
      mask: Weights, `(Bool | Int32 | Float32)["*b 1"]`.
      num_classes: Number of classes, if it is known.
      bad_labels: For the state.
    """

    preds: Int32["*b 1"]
    labels: Int32["*b 1"]
    mask: Array["*b 1"]
    num_classes: int | None
    bad_labels: class_ids.BadLabels


def predict(
    metric: OfClasses,
    *,
    labels: Array,
    logits: Array | None,
    pred_labels: Array | None,
    mask: Array | float | None,
) -> Predictions:
    """Returns predicted and true classes of a metric that takes logits or classes.

    Raises:
      ValueError: If neither or both are given, or the shapes don't fit.
    """
    name = type(metric).__name__
    if (logits is None) == (pred_labels is None):
        raise ValueError(
            f"{name} needs exactly one of `logits` and `pred_labels`: got "
            + ("neither." if logits is None else "both.")
        )
    given = getattr(metric, "num_classes", None)
    num_classes = given
    preds: Any = pred_labels
    if logits is not None:
        preds = best_class(logits)
        num_classes = given or logits.shape[-1]
        if num_classes < logits.shape[-1]:
            raise ValueError(
                f"`num_classes={given}` of {name} is less than the {logits.shape[-1]} "
                f"scores of key {metric.logits!r}. Leave it out, or score fewer classes."
            )
    if preds.shape != labels.shape:
        raise ValueError(
            f"{name} compares `i[*b 1]` labels: the predictions have shape "
            f"{preds.shape}, the labels {labels.shape}."
            + class_ids.last_axis_hint(labels.shape, preds.shape, metric.labels)
        )
    options = {
        "num_classes": num_classes,
        "ignored_label": metric.ignored_label,
        "owner": metric,
    }
    checked = class_ids.check_labels(labels, mask=mask, **options)
    bad_labels = checked.bad_labels
    if logits is None:
        predicted = class_ids.check_labels(
            preds, mask=checked.mask, field="pred_labels", **options
        )
        preds = jnp.where(predicted.is_class, predicted.ids, NO_CLASS)
        bad_labels = bad_labels.merge(predicted.bad_labels)
    return Predictions(preds, checked.ids, checked.mask, num_classes, bad_labels)


@shared_parts.shared
@typechecked
def best_class(logits: Array["*b classes"]) -> Int32["*b 1"]:
    """Returns the class of the highest score, `Int32["*b 1"]`, the first of equal ones.

    It is `NO_CLASS` where any score is NaN: nothing is higher than NaN.

    Args:
      logits: Scores, `Array["*b classes"]`.
    """
    logits = jnp.asarray(logits)
    best = jnp.argmax(logits, axis=-1, keepdims=True).astype(jnp.int32)
    return jnp.where(has_nan(logits), NO_CLASS, best)


@shared_parts.shared
@typechecked
def has_nan(scores: Array["*b classes"]) -> Bool["*b 1"]:
    """Returns whether any score of the last axis is NaN, `Bool["*b 1"]`."""
    return jnp.isnan(scores).any(axis=-1, keepdims=True)


@shared_parts.shared
@typechecked
def rank(scores: Array["*b classes"], ids: Int32["*b 1"]) -> Int32["*b 1"]:
    """Returns how many classes score higher than one class, `Int32["*b 1"]`.

    Of equal scores, those of lower classes count as higher. NaN is not higher than
    anything.

    Args:
      scores: `Array["*b classes"]`.
      ids: The class of each row, `Int32["*b 1"]`.
    """
    scores = jnp.asarray(scores)
    score = scores_of(scores, ids)
    classes = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    is_above = (scores > score) | ((scores == score) & (classes < ids))
    return is_above.sum(axis=-1, keepdims=True, dtype=jnp.int32)


def scores_of(scores: Array["*b classes"], ids: Int32["*b 1"]) -> Array["*b 1"]:
    """Returns the score of one class of each row, `Array["*b 1"]`.

    Args:
      scores: `Array["*b classes"]`.
      ids: The classes, in `[0, classes)`: nothing checks that.
    """
    return jnp.take_along_axis(scores, ids, axis=-1, mode="promise_in_bounds")


def check_shapes(metric: OfClasses, *, logits: Array, labels: Array) -> None:
    """Raises unless logits are `Array["*b classes"]` and labels `Array["*b 1"]`.

    Raises:
      ValueError: If they are not.
    """
    expected = (*logits.shape[:-1], 1)
    if labels.shape != expected:
        raise ValueError(
            f"{type(metric).__name__} needs logits `f[*b classes]` and labels "
            f"`i[*b 1]`: got logits {logits.shape} and labels {labels.shape}."
            + class_ids.last_axis_hint(labels.shape, expected, metric.labels)
        )
