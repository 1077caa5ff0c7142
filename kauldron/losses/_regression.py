"""Regression losses between predictions and targets, and penalties on values."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from kauldron import kontext
from kauldron.ktyping import Array, Float, typechecked
from kauldron.losses import _checks, base
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value(base.Loss):
    """The values themselves, for a loss that the model computes.

    Attributes:
      values: Key to values of any shape.
    """

    values: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(self, values: Array["*a"]) -> Float["*a"]:
        return arrays.to_float(values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbsoluteValue(base.Loss):
    """The absolute values, such as an L1 penalty on activations.

    Attributes:
      values: Key to values of any shape.
    """

    values: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(self, values: Array["*a"]) -> Float["*a"]:
        return jnp.abs(arrays.to_float(values))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Comparison(base.Loss):
    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_values(self, preds: Array["*a"], targets: Array["*a"]) -> Float["*#a"]:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        return self._compare(arrays.to_float(preds), arrays.to_float(targets))

    def _compare(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class L1(_Comparison):
    """Absolute difference of every element, `|preds - targets|`.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of exactly the same shape (nothing is broadcast).

    Raises:
      ValueError: If the shapes differ.
    """

    def _compare(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.abs(preds - targets)


@dataclasses.dataclass(frozen=True, kw_only=True)
class L2(_Comparison):
    """Squared difference of every element, `(preds - targets)**2`.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of exactly the same shape (nothing is broadcast).

    Raises:
      ValueError: If the shapes differ.
    """

    def _compare(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.square(preds - targets)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Huber(_Comparison):
    """Squared for small differences, linear for large ones, of every element.

    `d**2 / 2` where `|d| <= delta`, else `delta * (|d| - delta / 2)`.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of exactly the same shape (nothing is broadcast).
      delta: Where it becomes linear, in the unit of the values, > 0.

    Raises:
      ValueError: If the shapes differ, or `delta <= 0`.

    Reference: Huber 1964, Robust Estimation of a Location Parameter.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_range(self, "delta", low=0, is_open=True)

    def _compare(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        return optax.losses.huber_loss(preds, targets, delta=self.delta)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NegativeCosineSimilarity(_Comparison):
    """Minus the cosine of the angle between vectors, in [-1, 1].

    Attributes:
      preds: Key to vectors, `Float["*a n"]`.
      targets: Key to vectors of exactly the same shape.
      eps: Added to each norm, so that the zero vector has cosine 0.

    Raises:
      ValueError: If the shapes differ.
    """

    eps: float = 1e-8

    def _compare(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        dot = jnp.sum(preds * targets, axis=-1, keepdims=True)
        norms = (_checks.safe_norm(x) + self.eps for x in (preds, targets))
        return -dot / next(norms) / next(norms)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineDistance(NegativeCosineSimilarity):
    """One minus the cosine of the angle between vectors, in [0, 2].

    Attributes:
      preds: Key to vectors, `Float["*a n"]`.
      targets: Key to vectors of exactly the same shape.
      eps: Added to each norm, so that the zero vector has distance 1.

    Raises:
      ValueError: If the shapes differ.
    """

    def _compare(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        return 1 + super()._compare(preds, targets)
