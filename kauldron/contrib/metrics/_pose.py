"""Pose estimation metrics: positions of body joints."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import arrays, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanPerJointPositionError(metrics.Metric):
    """Mean distance of joints from where they should be, in the unit of the positions.

    Attributes:
      preds: Key to positions, `Float["*b joints 2|3"]`.
      targets: Key to true positions of the same shape.
      mask: Key to which joints count, `Array["*b joints"]` or `Array["*b joints 1"]`.

    Raises:
      ValueError: If the shapes differ.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        preds: Array["*b joints dims"],
        targets: Array["*b joints dims"],
        mask: Array | float | None = None,
    ) -> State:
        if preds.shape != targets.shape or preds.ndim < 2:
            raise ValueError(
                f"{type(self).__name__} needs positions `f[*b joints 3]`: got "
                f"{preds.shape} (key {self.preds!r}) and {targets.shape} (key "
                f"{self.targets!r})."
            )
        preds, targets = (arrays.to_float(x) for x in (preds, targets))
        weights = jnp.ones(preds.shape[:-1], preds.dtype)
        if mask is not None:
            weights = base_state.broadcast_mask(mask, weights.shape)
            counts = weights.astype(bool)[..., None]
            preds, targets = jnp.where(counts, preds, 0), jnp.where(counts, targets, 0)
        preds = self._align(preds, targets, weights.astype(preds.dtype))
        distances = jnp.linalg.norm(preds - targets, axis=-1)
        return self.State.from_values(distances, mask=weights)

    def _align(
        self, preds: jax.Array, targets: jax.Array, weights: jax.Array
    ) -> jax.Array:
        return preds


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcrustesPositionError(MeanPerJointPositionError):
    """`MeanPerJointPositionError` after the best shift, rotation and scale of each
    body.

    Attributes:
      preds: Key to positions, `Float["*b joints 2|3"]`.
      targets: Key to true positions of the same shape.
      mask: Key to which joints count, `Array["*b joints"]` or `Array["*b joints 1"]`.

    Reference: Umeyama 1991, Least-squares estimation of transformation parameters
    between two point patterns.
    """

    def _align(
        self, preds: jax.Array, targets: jax.Array, weights: jax.Array
    ) -> jax.Array:
        weights = weights[..., None]
        total = jnp.maximum(weights.sum(axis=-2, keepdims=True), 1e-12)
        centers = [
            (weights * x).sum(axis=-2, keepdims=True) / total for x in (preds, targets)
        ]
        a, b = preds - centers[0], targets - centers[1]
        covariance = jnp.swapaxes(weights * b, -1, -2) @ a
        u, singular, vt = jnp.linalg.svd(covariance, full_matrices=False)
        # A mirror image is not a rotation.
        sign = jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt))
        signs = jnp.ones_like(singular).at[..., -1].set(sign)
        rotation = (u * signs[..., None, :]) @ vt
        variance = (weights * a * a).sum(axis=(-2, -1))
        scale = (singular * signs).sum(-1) / jnp.maximum(variance, 1e-12)
        return (
            scale[..., None, None] * (a @ jnp.swapaxes(rotation, -1, -2)) + centers[1]
        )
