"""Depth-map metrics."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import arrays, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DepthMetric(metrics.Metric):
    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        preds: Array["*b h w c"],
        targets: Array["*b h w c"],
        mask: Array | float | None = None,
    ) -> State:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        preds, targets = (arrays.to_float(x) for x in (preds, targets))
        is_valid = targets > 0
        if mask is not None:
            is_valid = is_valid * base_state.broadcast_mask(mask, targets.shape)
        safe = jnp.where(targets > 0, targets, 1)
        return self.State.from_values(self._measure(preds, safe), mask=is_valid)

    def _measure(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanAbsoluteRelativeError(_DepthMetric):
    """Mean of `|preds - targets| / targets` over all pixels whose target is > 0.

    Attributes:
      preds: Key to depths, `Float["*b h w 1"]`.
      targets: Key to true depths of the same shape; 0 where they are not known.
      mask: Key to weights; trailing axes may be missing, axes may be 1.

    Reference: Eigen et al. 2014, Depth Map Prediction from a Single Image,
    arXiv:1406.2283, table 1.
    """

    def _measure(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.abs(preds - targets) / targets


@dataclasses.dataclass(frozen=True, kw_only=True)
class RGBMeanAbsoluteRelativeError(MeanAbsoluteRelativeError):
    """`MeanAbsoluteRelativeError` of depths that are pictures of three channels.

    The depth of a pixel is the mean of its channels.

    Attributes:
      preds: Key to pictures, `Float["*b h w 3"]`.
      targets: Key to pictures of the same shape; 0 where the depth is not known.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
    """

    @typechecked
    def get_state(
        self,
        preds: Array["*b h w c"],
        targets: Array["*b h w c"],
        mask: Array | float | None = None,
    ) -> Any:
        preds, targets = (
            arrays.to_float(x).mean(-1, keepdims=True) for x in (preds, targets)
        )
        return super().get_state(preds=preds, targets=targets, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delta1(_DepthMetric):
    """Share of pixels with `max(preds / targets, targets / preds) < threshold`.

    Attributes:
      preds: Key to depths, `Float["*b h w 1"]`; a depth that is not positive is never
        right.
      targets: Key to true depths of the same shape; 0 where they are not known.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
      threshold: The ratio, > 1.

    Reference: Eigen et al. 2014, arXiv:1406.2283, table 1.
    """

    threshold: float = 1.25

    def _measure(self, preds: jax.Array, targets: jax.Array) -> jax.Array:
        # Products, as a quotient by 0 would be no number.
        is_near = preds < self.threshold * targets
        return is_near & (targets < self.threshold * preds)
