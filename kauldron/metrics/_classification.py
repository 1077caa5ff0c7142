"""Classification metrics."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import Array, IntOrBool, typechecked
from kauldron.metrics import arrays, base, base_state, class_ids, predicted_classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(base.Metric):
    """Fraction of examples whose predicted class is the label.

    Attributes:
      logits: Key to scores, `Float["*b classes"]`; the prediction is the argmax.
      pred_labels: Key to predicted classes, `Int["*b 1"]`; exactly one of both is
        given.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`; `None` counts every example.
      ignored_label: True label of what is not counted (often 255 or -1).

    Raises:
      ValueError: If neither or both of `logits` and `pred_labels` are given, or the
        shapes differ.
      LabelError: In `compute`: a label or prediction is not a class.
    """

    logits: kontext.Key | None = None
    pred_labels: kontext.Key | None = None
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        labels: IntOrBool["*b 1"],
        logits: Array["*b classes"] | None = None,
        pred_labels: IntOrBool["*b 1"] | None = None,
        mask: Array | float | None = None,
    ) -> State:
        given = predicted_classes.predict(
            self, labels=labels, logits=logits, pred_labels=pred_labels, mask=mask
        )
        is_right = given.preds == given.labels
        state = self.State.from_values(is_right, mask=given.mask)
        return dataclasses.replace(state, bad_labels=given.bad_labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopKAccuracy(base.Metric):
    """Fraction of examples whose label is among the `k` highest scores.

    Of equal scores, the lower class id counts as higher, as in `argmax`. An example
    with a NaN among its scores is wrong for every `k`.

    Attributes:
      logits: Key to scores, `Float["*b classes"]`.
      labels: Key to class ids, `Int["*b 1"]`.
      mask: Key to weights, `Array["*b 1"]`.
      k: How many, >= 1.
      ignored_label: Label of what is not counted (often 255 or -1).

    Raises:
      ValueError: If the shapes don't fit, or `k < 1`.
      LabelError: In `compute`: a label is not a class.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    k: int = 5
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"`k` of TopKAccuracy must be at least 1: got {self.k}.")

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
        rank = predicted_classes.rank(logits, checked.ids)
        is_right = (rank < self.k) & ~predicted_classes.has_nan(logits)
        state = self.State.from_values(is_right, mask=checked.mask)
        return dataclasses.replace(state, bad_labels=checked.bad_labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision1(base.Metric):
    """Fraction of examples whose highest score is at one of several right classes.

    An example with a NaN among its scores is wrong.

    Attributes:
      logits: Key to scores, `Float["*b n"]`.
      labels: Key to 1 for right classes and 0 elsewhere, `Array["*b n"]`.
      mask: Key to weights, `Array["*b 1"]`.

    Raises:
      ValueError: If the shapes differ.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        logits: Array["*b n"],
        labels: Array["*b n"],
        mask: Array | float | None = None,
    ) -> State:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        best = predicted_classes.best_class(logits)
        is_class = best != predicted_classes.NO_CLASS
        best = jnp.where(is_class, best, 0)
        values = jnp.take_along_axis(jnp.asarray(labels), best, axis=-1)
        values = jnp.where(is_class, arrays.to_float(values), 0)
        return self.State.from_values(values, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BinaryAccuracy(base.Metric):
    """Fraction of elements where `logits > 0` agrees with the label.

    A NaN, as score or as label, is wrong.

    Attributes:
      logits: Key to log-odds, `Float["*a"]`.
      labels: Key to 0 or 1, integers or floats, of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
      ignored_label: Label of what is not counted (often 255 or -1).

    Raises:
      ValueError: If the shapes differ.
      LabelError: In `compute`: an integer label is neither 0 nor 1.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        logits: Array["*a"],
        labels: Array["*a"],
        mask: Array | float | None = None,
    ) -> State:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        is_right = (arrays.to_float(logits) > 0) == (arrays.to_float(labels) > 0)
        is_right &= ~(jnp.isnan(logits) | jnp.isnan(labels))
        if jnp.issubdtype(labels.dtype, jnp.floating):
            return self.State.from_values(is_right, mask=self._mask_of(labels, mask))
        checked = class_ids.check_labels(
            labels,
            num_classes=2,
            mask=mask,
            ignored_label=self.ignored_label,
            owner=self,
        )
        state = self.State.from_values(is_right, mask=checked.mask)
        return dataclasses.replace(state, bad_labels=checked.bad_labels)

    def _mask_of(self, labels: Array, mask: Array | float | None) -> Any:
        """Returns the mask without what is ignored; labels are floats."""
        if self.ignored_label is None:
            return mask
        mask = jnp.ones((1,) * labels.ndim) if mask is None else mask
        mask = base_state.broadcast_mask(mask, labels.shape)
        return jnp.where(labels == self.ignored_label, 0, mask)
