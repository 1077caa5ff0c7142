"""Ignored and invalid labels in classification losses.

A label that is masked or ignored does not count, whatever its value. Any other label
that is not a class makes the loss and its gradient NaN inside jit, and makes `compute`
of its state raise `LabelError`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import Array, Float, IntOrBool, Scalar, typechecked
from kauldron.losses import _checks, base
from kauldron.metrics import arrays, base_state, class_ids


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled(base.Loss):
    """Base of losses with a label for each value."""

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    ignored_label: int | None = None

    @typechecked
    def get_state(
        self,
        *args: Any,
        mask: Array | float | None = None,
        step: Scalar | None = None,
        **kwargs: Any,
    ) -> base.Loss.State:
        kwargs = bind(self, args, kwargs)
        labels, mask, bad_labels = self._check(kwargs["logits"], kwargs["labels"], mask)
        kwargs["labels"] = labels
        state = super().get_state(mask=mask, step=step, **kwargs)
        return dataclasses.replace(state, bad_labels=bad_labels)

    def _check(
        self, logits: Array, labels: Array, mask: Array | float | None
    ) -> tuple[Array, Array | float | None, class_ids.BadLabels | None]:
        """Returns labels to compute with, the mask of the values, bad labels or `None`."""
        raise NotImplementedError

    def _weights(
        self, checked: class_ids.CheckedLabels, mask: Array | float | None
    ) -> Array | None:
        """Returns the mask of the values; none where there is nothing to leave out."""
        if mask is None and self.ignored_label is None:
            return None
        # An invalid label counts: it makes the loss NaN instead of silently vanishing.
        weights = checked.mask
        return jnp.where(checked.is_bad, jnp.ones_like(weights), weights)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfClasses(Labelled):
    """Base of losses of scores `Float["*a classes"]` and class ids `Int["*a 1"]`."""

    @typechecked
    def get_values(
        self, logits: Array["*a classes"], labels: IntOrBool["*a 1"]
    ) -> Float["*a 1"]:
        _checks.check_int_labels(self, logits=logits, labels=labels)
        logits, ids = arrays.to_float(logits), class_ids.to_ids(labels)
        is_class = (ids >= 0) & (ids < logits.shape[-1])
        values = self._get_values(logits, jnp.where(is_class, ids, 0))
        # The gradient is NaN too: a wrong label must not go unnoticed between two
        # logged steps.
        return values * jnp.where(is_class, 1, jnp.nan)

    def _get_values(
        self, logits: Float["*a classes"], ids: IntOrBool["*a 1"]
    ) -> Float["*a 1"]:
        """Returns the loss of each label, `Float["*a 1"]`; all of them are classes."""
        raise NotImplementedError

    def _check(
        self, logits: Array, labels: Array, mask: Array | float | None
    ) -> tuple[Array, Array | float | None, class_ids.BadLabels | None]:
        _checks.check_int_labels(self, logits=logits, labels=labels)
        checked = class_ids.check_labels(
            labels,
            num_classes=logits.shape[-1],
            mask=mask,
            ignored_label=self.ignored_label,
        )
        ids = jnp.where(checked.is_bad, -1, checked.ids)
        return ids, self._weights(checked, mask), checked.bad_labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfElements(Labelled):
    """Base of losses of scores `Float["*a"]` and labels of the same shape.

    Integer labels are 0 or 1. Floating ones are probabilities, which are not checked.
    """

    def _check(
        self, logits: Array, labels: Array, mask: Array | float | None
    ) -> tuple[Array, Array | float | None, class_ids.BadLabels | None]:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        if _checks.is_integer(labels):
            checked = class_ids.check_labels(
                labels, num_classes=2, mask=mask, ignored_label=self.ignored_label
            )
            numbers = checked.ids.astype(arrays.wide_dtype(logits.dtype))
            values = jnp.where(checked.is_bad, jnp.nan, numbers)
            return values, self._weights(checked, mask), checked.bad_labels
        if self.ignored_label is not None:
            is_counted = jnp.asarray(labels) != self.ignored_label
            weights = jnp.ones(labels.shape, bool)
            if mask is not None:
                weights = base_state.broadcast_mask(mask, labels.shape)
            mask = jnp.where(is_counted, weights, jnp.zeros_like(weights))
        return labels, mask, None


def bind(
    loss: base.Loss, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the arguments of `get_values` by name."""
    names = inspect.signature(loss.get_values).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}
