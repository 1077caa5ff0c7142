"""Metric-learning losses: triplet, contrastive, ranking."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from kauldron import kontext
from kauldron.ktyping import Array, Bool, Float, Scalar, typechecked
from kauldron.losses import _checks, _masking, base
from kauldron.metrics import arrays, base_state, class_ids


@dataclasses.dataclass(frozen=True, kw_only=True)
class TripletMargin(base.Loss):
    """Triplet margin loss: a negative should be farther from the anchor than a
    positive.

    `max(0, |anchor - positive| - |anchor - negative| + margin)`.

    Attributes:
      anchors: Key to vectors, `Float["*a n"]`.
      positives: Key to vectors of the same shape that should be near.
      negatives: Key to vectors of the same shape that should be far.
      margin: Wanted difference of the distances, > 0.

    Raises:
      ValueError: If the shapes differ, or `margin <= 0`.

    Reference: Schroff et al. 2015, FaceNet, arXiv:1503.03832 (there with squared
    distances).
    """

    anchors: kontext.Key = kontext.REQUIRED
    positives: kontext.Key = kontext.REQUIRED
    negatives: kontext.Key = kontext.REQUIRED
    margin: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "margin", low=0, is_open=True)

    @typechecked
    def get_values(
        self, anchors: Array["*a n"], positives: Array["*a n"], negatives: Array["*a n"]
    ) -> Float["*a 1"]:
        vectors = {"anchors": anchors, "positives": positives, "negatives": negatives}
        arrays.check_same_shape(self, **vectors)
        anchors, positives, negatives = map(arrays.to_float, vectors.values())
        values = optax.losses.triplet_margin_loss(
            anchors, positives, negatives, margin=self.margin
        )
        return values[..., None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Contrastive(base.Loss):
    """Compares all pairs of a batch; masked examples are not negatives either."""

    temperature: float = 0.1

    compares_examples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "temperature", low=0, is_open=True)

    @typechecked
    def get_state(
        self,
        *args: Any,
        mask: Array | float | None = None,
        step: Scalar | None = None,
        **kwargs: Any,
    ) -> base.Loss.State:
        args, kwargs = self._guard(args, kwargs, mask)
        values = self.get_values(*args, mask=mask, **kwargs)
        return self._to_state(values, mask=mask, step=step)

    def _similarities(self, a: Array["_ n"], b: Array["_ n"]) -> Float["_ _"]:
        a, b = (_unit(x) for x in (a, b))
        # Half-precision products would be too coarse after division by temperature.
        products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
        return products / self.temperature


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoNCE(_Contrastive):
    """Cross-entropy, in nats, of finding a query's positive among those of the batch.

    Similarity is the cosine. The batch is the global one, over all devices. A masked
    example takes no part at all. The value depends on the batch size: batches merge to
    the mean, not to the value of one larger batch.

    Attributes:
      queries: Key to vectors, `Float["b n"]`.
      positives: Key to vectors of the same shape: row i belongs to query i, the other
        rows are its negatives.
      temperature: Divides the cosines, > 0.
      is_symmetric: Whether positives also look for their query, as in CLIP; the value
        is the mean of both.

    Raises:
      ValueError: If the shapes differ or are not `Array["b n"]`, or `temperature <= 0`.

    Reference: van den Oord et al. 2018, Representation Learning with Contrastive
    Predictive Coding, eq. 4, arXiv:1807.03748.
    """

    queries: kontext.Key = kontext.REQUIRED
    positives: kontext.Key = kontext.REQUIRED
    is_symmetric: bool = False

    @typechecked
    def get_values(
        self,
        queries: Array["b n"],
        positives: Array["b n"],
        mask: Array | float | None = None,
    ) -> Float["b 1"]:
        arrays.check_same_shape(self, queries=queries, positives=positives)
        _check_pairs(self, queries)
        logits = self._similarities(queries, positives)
        is_valid = _is_valid(mask, len(logits))
        values = _pick_diagonal(logits, is_valid)
        if self.is_symmetric:
            values = (values + _pick_diagonal(logits.T, is_valid)) / 2
        return values[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NTXent(_Contrastive):
    """Two views of each example look for each other among all views of the batch.

    Cross-entropy in nats, of cosines, mean of both directions. As in `InfoNCE`, masked
    examples take no part, and the value depends on the batch size.

    Attributes:
      view1: Key to vectors, `Float["b n"]`.
      view2: Key to vectors of the same examples, of the same shape.
      temperature: Divides the cosines, > 0.

    Raises:
      ValueError: If the shapes differ or are not `Array["b n"]`, or `temperature <= 0`.

    Reference: Chen et al. 2020, A Simple Framework for Contrastive Learning, eq. 1,
    arXiv:2002.05709.
    """

    view1: kontext.Key = kontext.REQUIRED
    view2: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(
        self,
        view1: Array["b n"],
        view2: Array["b n"],
        mask: Array | float | None = None,
    ) -> Float["b 1"]:
        arrays.check_same_shape(self, view1=view1, view2=view2)
        _check_pairs(self, view1)
        size = len(view1)
        views = jnp.concatenate([view1, view2])
        logits = self._similarities(views, views)
        is_self = jnp.eye(2 * size, dtype=bool)
        logits = jnp.where(is_self, -jnp.inf, logits)
        # Row i looks for column i: roll the partner of each view there.
        logits = jnp.roll(logits, size, axis=1)
        is_valid = jnp.tile(_is_valid(mask, size), 2)
        values = _pick_diagonal(logits, is_valid)
        return values.reshape(2, size).mean(axis=0)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairwiseRanking(base.Loss):
    """Items of higher relevance should get higher scores: logistic loss of each pair.

    Mean of `log(1 + exp(s_j - s_i))` over the pairs of a list with
    `labels_i > labels_j`; 0 for a list without such pairs.

    Attributes:
      logits: Key to scores, `Float["*a n"]`, n items a list.
      labels: Key to relevances of the same shape, integer or float.
      item_mask: Key to which items exist, of the same shape.

    Raises:
      ValueError: If the shapes differ.

    Reference: Burges et al. 2005, Learning to Rank using Gradient Descent, eq. 3.
    """

    logits: kontext.Key = kontext.REQUIRED
    labels: kontext.Key = kontext.REQUIRED
    item_mask: kontext.Key | None = None

    @typechecked
    def get_values(
        self,
        logits: Array["*a n"],
        labels: Array["*a n"],
        item_mask: Array["*a n"] | None = None,
    ) -> Float["*a 1"]:
        arrays.check_same_shape(self, logits=logits, labels=labels)
        logits = arrays.to_float(logits)
        is_integer = _checks.is_integer(labels)
        labels = class_ids.to_ids(labels) if is_integer else jnp.asarray(labels)
        is_pair = labels[..., :, None] > labels[..., None, :]
        if item_mask is not None:
            arrays.check_same_shape(self, logits=logits, item_mask=item_mask)
            exists = jnp.asarray(item_mask, bool)
            logits = _masking.guard(logits, ~exists)
            is_pair &= exists[..., :, None] & exists[..., None, :]
        margins = logits[..., :, None] - logits[..., None, :]
        # Selected first: of two scores of -inf, which form no pair, it would be NaN.
        margins = jnp.where(is_pair, margins, 0)
        values = jnp.where(is_pair, jax.nn.softplus(-margins), 0)
        num_pairs = is_pair.sum(axis=(-2, -1), dtype=values.dtype)
        return (values.sum(axis=(-2, -1)) / jnp.maximum(num_pairs, 1))[..., None]


def _unit(x: Array["*a n"]) -> Float["*a n"]:
    x = arrays.to_float(x)
    return x / jnp.maximum(_checks.safe_norm(x), 1e-12)


def _check_pairs(loss: base.Loss, vectors: Array) -> None:
    if vectors.ndim != 2:
        raise ValueError(
            f"{type(loss).__name__} compares the vectors `f[b n]` of a batch: got shape "
            f"{vectors.shape}."
        )


def _is_valid(mask: Array | float | None, size: int) -> Bool["b"]:
    if mask is None:
        return jnp.ones(size, bool)
    return base_state.broadcast_mask(mask, (size, 1))[:, 0].astype(bool)


def _pick_diagonal(logits: Float["b b"], is_valid: Bool["b"]) -> Float["b"]:
    """Returns the cross-entropy of row i with column i among the valid columns."""
    is_own = jnp.eye(len(logits), dtype=bool)
    # A masked row keeps its own column, so that its (unused) value is finite.
    logits = jnp.where(is_valid[None, :] | is_own, logits, -jnp.inf)
    return jax.nn.logsumexp(logits, axis=-1) - jnp.diagonal(logits)
