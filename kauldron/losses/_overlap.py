"""Region and image losses: overlap, smoothness."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import Array, Float, Scalar, typechecked
from kauldron.losses import _checks, _labelled, _masking, base
from kauldron.metrics import arrays, base_state, class_ids

_Activation = Literal["softmax", "sigmoid"] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Overlap(base.Loss):
    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None
    ignored_label: int | None = None
    activation: _Activation = "softmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ("softmax", "sigmoid", None):
            raise ValueError(
                "`activation` must be 'softmax', 'sigmoid' or None: got "
                f"{self.activation!r}."
            )

    @typechecked
    def get_state(
        self,
        *args: Any,
        mask: Array | float | None = None,
        step: Scalar | None = None,
        **kwargs: Any,
    ) -> base.Loss.State:
        kwargs = _labelled.bind(self, args, kwargs)
        labels, bad_labels = kwargs["labels"], None
        if _checks.is_integer(labels):
            labels, bad_labels = self._check_labels(mask=mask, **kwargs)
        if self.ignored_label is not None:
            kwargs["region_mask"] = self._without_ignored(**kwargs)
        kwargs["labels"] = labels
        mask = self._mask_of_values(mask, **kwargs)
        state = super().get_state(mask=mask, step=step, **kwargs)
        return dataclasses.replace(state, bad_labels=bad_labels)

    def _mask_of_values(
        self,
        mask: Array | float | None,
        logits: Array,
        labels: Array,
        region_mask: Array | None = None,
    ) -> Any:
        """Returns the mask of what `get_values` returns, of the mask that was given."""
        del logits, labels, region_mask
        return mask

    def _check_labels(
        self,
        logits: Array,
        labels: Array,
        region_mask: Array | None = None,
        mask: Array | float | None = None,
    ) -> tuple[jax.Array, class_ids.BadLabels]:
        """Returns integer labels, -1 for those that are not classes, and these."""
        has_ids = self._has_ids(logits, labels)
        places = jnp.ones(labels.shape, bool)
        if region_mask is not None:
            places = base_state.broadcast_mask(region_mask, logits.shape).astype(bool)
            places = places.any(axis=-1, keepdims=True) if has_ids else places
        if mask is not None:
            places &= ~self._is_masked("labels", mask, labels.shape)
        checked = class_ids.check_labels(
            labels,
            num_classes=logits.shape[-1] if has_ids else 2,
            mask=places,
            ignored_label=self.ignored_label,
        )
        return jnp.where(checked.is_bad, -1, checked.ids), checked.bad_labels

    def _without_ignored(
        self, logits: Array, labels: Array, region_mask: Array | None = None
    ) -> jax.Array:
        """Returns the region without the places of the ignored label."""
        if _checks.is_integer(labels):
            labels = class_ids.to_ids(labels)
        region = jnp.asarray(labels) != self.ignored_label
        if region_mask is not None:
            region &= base_state.broadcast_mask(region_mask, logits.shape).astype(bool)
        return region

    def _count(
        self, logits: Array, labels: Array, region_mask: Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns what is common, predicted, and true, of each example and class."""
        probs = arrays.to_float(logits)
        if region_mask is not None:
            probs = self._guard_outside(probs, region_mask)
        if self.activation == "softmax":
            probs = jax.nn.softmax(probs)
        elif self.activation == "sigmoid":
            probs = jax.nn.sigmoid(probs)
        labels = self._to_one_hot(probs, labels)
        if region_mask is not None:
            mask = base_state.broadcast_mask(region_mask, probs.shape).astype(bool)
            probs, labels = jnp.where(mask, probs, 0), jnp.where(mask, labels, 0)
        space = tuple(range(1, probs.ndim - 1))
        both = (probs * labels).sum(axis=space)
        return both, probs.sum(axis=space), labels.sum(axis=space)

    def _guard_outside(self, logits: jax.Array, region_mask: Array) -> jax.Array:
        is_inside = base_state.broadcast_mask(region_mask, logits.shape).astype(bool)
        is_outside = ~is_inside
        if self.activation == "softmax":  # each needs the scores of all classes
            is_outside = is_outside.all(axis=-1, keepdims=True)
        return _masking.guard(logits, is_outside)

    def _is_masked(self, name: str, mask: Array | float, shape: tuple[int, ...]) -> Any:
        is_masked = _masking.of_channels(mask, shape)
        if name == "logits" and self.activation == "softmax" and is_masked is not None:
            is_masked = is_masked.all(axis=-1, keepdims=True)
        return is_masked

    def _has_ids(self, logits: Array, labels: Array) -> bool:
        """Whether labels are class ids, rather than one-hot.

        Raises:
          ValueError: If their shape fits neither.
        """
        if logits.ndim < 2:
            raise ValueError(
                f"{type(self).__name__} needs logits `f[b *space c]`: got {logits.shape}."
            )
        if labels.shape == (*logits.shape[:-1], 1) and _checks.is_integer(labels):
            return logits.shape[-1] > 1
        arrays.check_same_shape(self, logits=logits, labels=labels)
        return False

    def _to_one_hot(self, probs: jax.Array, labels: Array) -> jax.Array:
        """Returns labels shaped like the probabilities, NaN where not a class."""
        has_ids = self._has_ids(probs, labels)
        if not _checks.is_integer(labels):
            return jnp.asarray(labels).astype(probs.dtype)
        ids = class_ids.to_ids(labels)
        is_class = (ids >= 0) & (ids < (probs.shape[-1] if has_ids else 2))
        if has_ids:
            ids = jax.nn.one_hot(ids[..., 0], probs.shape[-1])
        return jnp.where(is_class, ids.astype(probs.dtype), jnp.nan)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfEachClass(_Overlap):
    smooth: float = 1.0
    skip_absent: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "smooth", low=0)

    def _tversky(
        self,
        logits: Array,
        labels: Array,
        region_mask: Array | None,
        alpha: float,
        beta: float,
    ) -> jax.Array:
        """Returns one minus the index of each example and class, `Float["b c"]`."""
        both, num_preds, num_labels = self._count(logits, labels, region_mask)
        false_positives, false_negatives = num_preds - both, num_labels - both
        whole = both + alpha * false_positives + beta * false_negatives + self.smooth
        is_empty = whole == 0  # only without smoothing: nothing there, nothing found
        index = (both + self.smooth) / jnp.where(is_empty, 1, whole)
        return jnp.where(is_empty, 0, 1 - index)

    def _mask_of_values(
        self,
        mask: Array | float | None,
        logits: Array,
        labels: Array,
        region_mask: Array | None = None,
    ) -> Any:
        """Returns the mask, without classes that no place has if these are skipped."""
        if not self.skip_absent:
            return mask
        one_hot = self._to_one_hot(arrays.to_float(logits), labels)
        if region_mask is not None:
            inside = base_state.broadcast_mask(region_mask, one_hot.shape).astype(bool)
            one_hot = jnp.where(inside, one_hot, 0)
        # Also of a label that is no class, so that it makes the loss NaN.
        is_there = (one_hot != 0).any(axis=tuple(range(1, one_hot.ndim - 1)))
        if mask is None:
            return is_there
        weights = base_state.broadcast_mask(mask, is_there.shape)
        return jnp.where(is_there, weights, jnp.zeros_like(weights))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TverskyLoss(_OfEachClass):
    """One minus the Tversky index of regions, of every example and class.

    `1 - (TP + smooth) / (TP + alpha * FP + beta * FN + smooth)`, with sums over space.
    `alpha = beta = 1/2` is Dice, `alpha = beta = 1` is intersection over union.

    Attributes:
      logits: Key to scores, `Float["b *space c"]`.
      labels: Key to the true regions: one-hot or multi-hot of the same shape, or class
        ids `Int["b *space 1"]` of any integer dtype.
      ignored_label: Label of places that do not count (often -1 or 255), as those
        outside of the region.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1|c"]`. (A `mask` weighs the values `Array["b c"]`.)
      activation: What makes the scores probabilities; `None` if they are.
      smooth: Added above and below, in places; 0 makes an absent class a value of 0.
      skip_absent: Leaves a class out of the mean in the examples where no place has it.
      alpha: Weight of false positives, >= 0.
      beta: Weight of false negatives, >= 0.

    Raises:
      ValueError: If the shapes don't fit, or a parameter is out of range.
      LabelError: A `ValueError`: on computing the value, if a class id that counts is
        no class, or an integer of a multi-hot label neither 0 nor 1.

    Reference: Salehi et al. 2017, Tversky loss function for image segmentation,
    arXiv:1706.05721.
    """

    alpha: float = 0.5
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "alpha", low=0)
        _checks.check_range(self, "beta", low=0)

    @typechecked
    def get_values(
        self,
        logits: Array["b *space c"],
        labels: Array["b *space 1|c"],
        region_mask: Array | None = None,
    ) -> Float["b c"]:
        return self._tversky(logits, labels, region_mask, self.alpha, self.beta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiceLoss(_OfEachClass):
    """One minus the Dice coefficient of regions, of every example and class.

    `1 - (2 TP + 2 smooth) / (2 TP + FP + FN + 2 smooth)`, with sums over space.

    Attributes:
      logits: Key to scores, `Float["b *space c"]`.
      labels: Key to the true regions: one-hot or multi-hot of the same shape, or class
        ids `Int["b *space 1"]` of any integer dtype.
      ignored_label: Label of places that do not count (often -1 or 255), as those
        outside of the region.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1|c"]`. (A `mask` weighs the values `Array["b c"]`.)
      activation: What makes the scores probabilities; `None` if they are.
      smooth: See the formula; 0 makes an absent class a value of 0.
      skip_absent: Leaves a class out of the mean in the examples where no place has it.

    Raises:
      ValueError: If the shapes don't fit, or `smooth < 0`.
      LabelError: A `ValueError`: on computing the value, if a class id that counts is
        no class, or an integer of a multi-hot label neither 0 nor 1.

    Reference: Milletari et al. 2016, V-Net, arXiv:1606.04797 (there with squares
      below).
    """

    @typechecked
    def get_values(
        self,
        logits: Array["b *space c"],
        labels: Array["b *space 1|c"],
        region_mask: Array | None = None,
    ) -> Float["b c"]:
        return self._tversky(logits, labels, region_mask, 0.5, 0.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralizedDiceLoss(_Overlap):
    """One minus the Dice coefficient of all classes together, small ones weighing as much.

    `1 - 2 sum_c(w TP) / sum_c(w (2 TP + FP + FN))` of every example, with sums over space
    and `w = 1 / (size of the true region)**2`. Classes that are not there have no weight.
    An example without any has a value of 0.

    Attributes:
      logits: Key to scores, `Float["b *space c"]`.
      labels: Key to the true regions: one-hot or multi-hot of the same shape, or class
        ids `Int["b *space 1"]` of any integer dtype.
      ignored_label: Label of places that do not count (often -1 or 255), as those
        outside of the region.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1|c"]`. (A `mask` weighs the values, `Array["b"]`.)
      activation: What makes the scores probabilities; `None` if they are.

    Raises:
      ValueError: If the shapes don't fit.
      LabelError: A `ValueError`: on computing the value, if a class id that counts is
        no class, or an integer of a multi-hot label neither 0 nor 1.

    Reference: Sudre et al. 2017, Generalised Dice overlap as a deep learning loss
      function for highly unbalanced segmentations, arXiv:1707.03237.
    """

    @typechecked
    def get_values(
        self,
        logits: Array["b *space c"],
        labels: Array["b *space 1|c"],
        region_mask: Array | None = None,
    ) -> Float["b 1"]:
        both, num_preds, num_labels = self._count(logits, labels, region_mask)
        weights = jnp.where(num_labels == 0, 0, 1 / jnp.maximum(num_labels, 1e-6) ** 2)
        whole = (weights * (num_preds + num_labels)).sum(axis=-1, keepdims=True)
        is_empty = whole == 0
        index = 2 * (weights * both).sum(axis=-1, keepdims=True)
        index = index / jnp.where(is_empty, 1, whole)
        return jnp.where(is_empty, 0, 1 - index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TotalVariation(base.Loss):
    """Mean absolute difference of neighbouring pixels, down plus across, per image.

    Attributes:
      images: Key to images, `Float["*b h w c"]` with h, w >= 2.

    Raises:
      ValueError: If the images do not have this form.

    Reference: Rudin et al. 1992, Nonlinear total variation based noise removal
    algorithms (there the Euclidean norm of both differences).
    """

    images: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(self, images: Array["*b h w c"]) -> Float["*b 1"]:
        if images.ndim < 3 or min(images.shape[-3:-1]) < 2:
            raise ValueError(
                "TotalVariation needs images `f[*b h w c]` of at least 2 x 2 pixels: key "
                f"{self.images!r} has shape {images.shape}."
            )
        images = arrays.to_float(images)
        values = [
            jnp.abs(jnp.diff(images, axis=axis)).mean(axis=(-3, -2, -1))
            for axis in (-3, -2)
        ]
        return (values[0] + values[1])[..., None]
