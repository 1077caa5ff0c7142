"""Correlation of images, whole or in windows, within the memory of a few planes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import ad_checkpoint

from kauldron import kontext
from kauldron.ktyping import Array, Float, typechecked
from kauldron.losses import _checks, _masking, base
from kauldron.metrics import arrays, base_state

# Windows are correlated so many planes at a time, and again for the gradient. Of their five
# sums, one is kept for it: less work, for the memory of an image.
_SLAB = 24
_KEPT = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormalizedCrossCorrelation(base.Loss):
    """One minus the correlation of images, per example and channel, in [0, 2].

    Invariant to brightness and contrast: for registration, and for reconstruction where
    intensities mean nothing.

    Attributes:
      preds: Key to images of any number of spatial axes, `Float["b *space c"]`.
      targets: Key to images of exactly the same shape.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1|c"]`: of these alone are the means and variances, and averaged
        are the windows with their centre inside. (A `mask` weighs the values
        `Array["b c"]`.)
      window: Size in pixels of the windows whose correlations are averaged (those that
        lie inside the image); `None` correlates whole images.
      is_squared: One minus the square of the correlation, in [0, 1]: blind to the sign,
        too, for images of two kinds.
      eps: Added to the product of the variances, which keeps flat windows finite.

    Raises:
      ValueError: If the shapes differ or have no space, or the window does not fit.

    Reference: Balakrishnan et al. 2018, VoxelMorph, eq. 6, arXiv:1809.05231 (there the
    square of the correlation).
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None
    window: int | None = None
    is_squared: bool = False
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None:
            _checks.check_range(self, "window", low=2)

    @typechecked
    def get_values(
        self,
        preds: Array["b *space c"],
        targets: Array["b *space c"],
        region_mask: Array | None = None,
    ) -> Float["b c"]:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        space = preds.shape[1:-1]
        if not space or min(space) < (self.window or 1):
            raise ValueError(
                "NormalizedCrossCorrelation needs images `f[b *space c]`, at least as "
                f"large as `window={self.window}`: got {preds.shape}."
            )
        a, b = arrays.to_float(preds), arrays.to_float(targets)
        weights = None
        if region_mask is not None:
            is_inside = base_state.broadcast_mask(region_mask, a.shape).astype(bool)
            a, b = jnp.where(is_inside, a, 0), jnp.where(is_inside, b, 0)
            weights = is_inside.astype(a.dtype)
        if self.window is None:
            total, count = self._in_whole(a, b, weights)
        else:
            total, count = self._in_windows(a, b, weights, self.window)
        is_empty = count == 0
        correlation = total / jnp.where(is_empty, 1, count)
        return jnp.where(is_empty, 0, 1 - correlation)

    def _is_masked(self, name: str, mask: Array | float, shape: tuple[int, ...]) -> Any:
        del name
        return _masking.of_channels(mask, shape)

    def _correlate(
        self, a: jax.Array, b: jax.Array, weights: jax.Array | None, mean: Any
    ) -> jax.Array:
        """Returns the correlations of windows, of which `mean` gives the means."""
        share = 1 if weights is None else jnp.maximum(mean(weights), 1e-12)
        mean_a = ad_checkpoint.checkpoint_name(mean(a) / share, _KEPT)
        mean_b = mean(b) / share
        covariance = mean(a * b) / share - mean_a * mean_b
        var_a = jnp.maximum(mean(a * a) / share - mean_a**2, 0)
        var_b = jnp.maximum(mean(b * b) / share - mean_b**2, 0)
        product = var_a * var_b + self.eps
        if self.is_squared:
            return covariance**2 / product
        return covariance / jnp.sqrt(product)

    def _in_whole(
        self, a: jax.Array, b: jax.Array, weights: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the correlation of images, and whether there is one."""
        axes = tuple(range(1, a.ndim - 1))
        # Centred first: f32 differences of large means would be noise.
        a, b = (x - _center_of(x, weights, axes) for x in (a, b))
        is_there = jnp.ones((a.shape[0], a.shape[-1]), a.dtype)
        if weights is not None:
            a, b = a * weights, b * weights
            is_there = weights.any(axis=axes).astype(a.dtype)
        values = self._correlate(a, b, weights, _mean_of_all)
        return values.reshape(is_there.shape) * is_there, is_there

    def _in_windows(
        self, a: jax.Array, b: jax.Array, weights: jax.Array | None, window: int
    ) -> tuple[jax.Array, jax.Array]:
        """Returns sum and number of the correlations of windows, `Float["b c"]` each."""
        axes = tuple(range(1, a.ndim - 1))
        num_planes = a.shape[1] - window + 1
        num_slabs = max(2, -(-num_planes // _SLAB))
        slab = -(-num_planes // num_slabs)  # as many planes in all of them
        starts = np.arange(0, num_planes, slab)
        # The last slab ends with the image; what it shares with the one before is left out.
        begins = np.minimum(starts, num_planes - slab)
        means = [_center_of(x, weights, axes) for x in (a, b)]

        @functools.partial(
            jax.checkpoint,
            policy=jax.checkpoint_policies.save_only_these_names(_KEPT),
        )
        def of_slab(begin: Any, start: Any) -> tuple[jax.Array, jax.Array]:
            def cut(x: jax.Array) -> jax.Array:
                size = slab + window - 1
                return jax.lax.dynamic_slice_in_dim(x, begin, size, axis=1)

            # Computed in the loop, and two slabs at least: where XLA sees that all planes
            # count, it computes correlations again for each voxel of their windows.
            is_own = begin + jnp.arange(slab) >= start
            own = is_own.reshape(1, slab, *(1,) * (a.ndim - 2)).astype(a.dtype)
            w = None if weights is None else cut(weights)
            # Centred first: f32 differences of large means would be noise.
            x, y = (cut(x) - m for x, m in zip((a, b), means, strict=True))
            if w is not None:
                x, y = x * w, y * w
                own = own * _centers_of(w, window)
            values = self._correlate(x, y, w, lambda x: _mean_of_windows(x, window))
            count = jnp.broadcast_to(own, values.shape).sum(axis=axes)
            return jnp.where(own > 0, values, 0).sum(axis=axes), count

        def body(sums: Any, of: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, of_slab(*of)), None

        nothing = jnp.zeros((a.shape[0], a.shape[-1]), a.dtype)
        sums, _ = jax.lax.scan(body, (nothing, nothing), (begins, starts))
        return sums


def _center_of(
    x: jax.Array, weights: jax.Array | None, axes: tuple[int, ...]
) -> jax.Array:
    """Returns a number in the middle of each channel; the value does not depend on it."""
    x = jax.lax.stop_gradient(x)
    if weights is None:
        return x.mean(axis=axes, keepdims=True)
    count = jnp.maximum(weights.sum(axis=axes, keepdims=True), 1)
    return x.sum(axis=axes, keepdims=True) / count


def _centers_of(weights: jax.Array, window: int) -> jax.Array:
    """Returns the weights at the centres of windows."""
    for axis in range(1, weights.ndim - 1):
        begin, size = window // 2, weights.shape[axis] - window + 1
        weights = jax.lax.slice_in_dim(weights, begin, begin + size, axis=axis)
    return weights


def _mean_of_all(x: jax.Array) -> jax.Array:
    return x.mean(axis=tuple(range(1, x.ndim - 1)), keepdims=True)


def _mean_of_windows(x: jax.Array, window: int) -> jax.Array:
    """Returns the means of all windows inside, `Float["b *windows c"]`."""
    # A NumPy zero: a traced one would hide that this is a sum, and has a gradient.
    zero = np.zeros((), x.dtype)
    for axis in range(1, x.ndim - 1):  # axis by axis: 27 additions, and not 729
        sizes = [1] * x.ndim
        sizes[axis] = window
        strides = (1,) * x.ndim
        x = jax.lax.reduce_window(x, zero, jax.lax.add, tuple(sizes), strides, "VALID")
    return x / np.asarray(window ** (x.ndim - 2), x.dtype)
