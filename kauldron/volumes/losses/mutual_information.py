"""Mutual information of images from a Parzen histogram, in the memory of a few thousand
voxels."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses
from kauldron.ktyping import Array, Float, typechecked
from kauldron.metrics import arrays
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.losses import _places

# Bins at both ends that only the windows reach.
_PAD = 2
# Voxels are counted so many at a time: their weights stay in the cache of a processor.
_CHUNK = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class MutualInformation(losses.Loss):
    """Minus the mutual information of images, per example and channel, in nats.

    For registration of images of two kinds: it is large if the value of one tells that of
    the other, whatever the relation. Each voxel is spread over the bins of the joint
    histogram by a window, so that there is a gradient.

    Attributes:
      preds: Key to images of any number of spatial axes, `Float["b *space c"]`.
      targets: Key to images of exactly the same shape.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1|c"]`. (A `mask` weighs the values `Array["b c"]`.)
      num_bins: Bins of each axis of the histogram, of which two at both ends are reached by
        windows only.
      preds_range: Lowest and highest value of the predictions; those beyond count as the
        ends. `None` takes them from each example and channel, without gradient.
      targets_range: As `preds_range`.
      targets_window: `'cubic'`, a cubic B-spline as for the predictions; `'box'` puts each
        voxel into one bin, as Mattes does: without a gradient for the targets.

    Raises:
      VolumeError: If a number of bins or a range is none.
      ValueError: If the shapes differ.

    Reference: Mattes et al. 2001, Nonrigid multimodality image registration; Thevenaz,
      Unser 2000, Optimization of mutual information for multiresolution image registration.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None
    num_bins: int = 32
    preds_range: tuple[float, float] | None = None
    targets_range: tuple[float, float] | None = None
    targets_window: Literal["cubic", "box"] = "cubic"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_bins < 2 * _PAD + 1:
            raise VolumeError(f"`num_bins` is at least 5: got {self.num_bins!r}.")
        if self.targets_window not in ("cubic", "box"):
            raise VolumeError(
                f"`targets_window` is 'cubic' or 'box': got {self.targets_window!r}."
            )
        for name in ("preds_range", "targets_range"):
            ends = getattr(self, name)
            if ends is not None and not (len(ends) == 2 and ends[0] < ends[1]):
                raise VolumeError(f"`{name}` is (low, high): got {ends!r}.")

    @typechecked
    def get_values(
        self,
        preds: Array["b *space c"],
        targets: Array["b *space c"],
        region_mask: Array | None = None,
    ) -> Float["b c"]:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        inside = _places.inside(region_mask, preds.shape)
        ends = self.preds_range, self.targets_range
        a, b = (
            _to_bins(
                _by_channel(_places.only_inside(arrays.to_float(x), inside)),
                _by_channel(inside),
                own,
                self.num_bins,
            )
            for x, own in zip((preds, targets), ends, strict=True)
        )
        joint = self._joint(a, b, _by_channel(inside))
        return -_information(joint)

    def _is_masked(self, name: str, mask: Array | float, shape: tuple[int, ...]) -> Any:
        del name
        return _places.masked_channels(mask, shape)

    def _joint(
        self, a: jax.Array, b: jax.Array, weights: jax.Array | None
    ) -> Float["b c i j"]:
        """Returns the histogram of bins `f[b c n]`, not normalised."""
        num_voxels = a.shape[-1]
        chunk = min(_CHUNK, num_voxels)
        starts = np.arange(0, num_voxels, chunk)
        begins = np.minimum(starts, num_voxels - chunk)
        is_own = begins[:, None] + np.arange(chunk) >= starts[:, None]
        bins = np.arange(self.num_bins, dtype=np.float32)

        @jax.checkpoint
        def of_chunk(a: Any, b: Any, weights: Any, begin: Any, is_own: Any) -> Any:
            a, b = (jax.lax.dynamic_slice_in_dim(x, begin, chunk, -1) for x in (a, b))
            own = is_own.astype(a.dtype)
            if weights is not None:
                own *= jax.lax.dynamic_slice_in_dim(weights, begin, chunk, -1)
            spread_a = _cubic(a[..., None, :] - bins[:, None])
            window_b = _cubic if self.targets_window == "cubic" else _box
            spread_b = window_b(b[..., None, :] - bins[:, None]) * own[..., None, :]
            return jnp.einsum("bcin,bcjn->bcij", spread_a, spread_b)

        def body(joint: Any, of: Any) -> tuple[Any, None]:
            return joint + of_chunk(a, b, weights, *of), None

        nothing = jnp.zeros((*a.shape[:2], self.num_bins, self.num_bins), a.dtype)
        joint, _ = jax.lax.scan(body, nothing, (begins, is_own))
        return joint


def _by_channel(x: Any) -> Any:
    """Returns `[b *space c]` as `[b c n]`."""
    if x is None:
        return None
    x = jnp.moveaxis(x, -1, 1)
    return x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))


def _to_bins(
    x: Float["b c n"],
    weights: jax.Array | None,
    ends: tuple[float, float] | None,
    num_bins: int,
) -> Float["b c n"]:
    """Returns values as places between bins, in `[_PAD, num_bins - _PAD]`."""
    if ends is not None:
        low, high = ends
        x = jnp.clip(x, low, high)
    else:
        known = jax.lax.stop_gradient(x)
        is_inside = None if weights is None else weights > 0
        low = known.min(axis=-1, keepdims=True, where=is_inside, initial=np.inf)
        high = known.max(axis=-1, keepdims=True, where=is_inside, initial=-np.inf)
        is_flat = ~(low < high)  # one value, or none: any range will do
        low = jnp.where(is_flat & ~jnp.isfinite(low), 0, low)
        high = jnp.where(is_flat, low + 1, high)
    return (x - low) / (high - low) * (num_bins - 2 * _PAD) + _PAD


def _cubic(distance: jax.Array) -> jax.Array:
    """Returns the cubic B-spline, `Float["*a"]`, which is 0 from a distance of 2 on."""
    u = jnp.abs(distance)
    beyond = jnp.maximum(2 - u, 0)
    near = jnp.maximum(1 - u, 0)
    return (beyond**3 - 4 * near**3) / 6


def _box(distance: jax.Array) -> jax.Array:
    """Returns 1 in the bin of a place, which begins at its number."""
    return ((distance >= 0) & (distance < 1)).astype(distance.dtype)


def _information(joint: Float["b c i j"]) -> Float["b c"]:
    """Returns the mutual information of a histogram; 0 of nothing."""
    total = joint.sum(axis=(-2, -1), keepdims=True)
    p = joint / jnp.where(total > 0, total, 1)
    independent = p.sum(axis=-1, keepdims=True) * p.sum(axis=-2, keepdims=True)
    # A spline leaves tiny weights, and f32 tiny negative ones: there is nothing in them.
    is_there = (p > 1e-16) & (independent > 1e-16)
    ratio = jnp.where(is_there, p, 1) / jnp.where(is_there, independent, 1)
    return jnp.where(is_there, p * jnp.log(ratio), 0).sum(axis=(-2, -1))
