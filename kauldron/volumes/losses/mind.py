"""MIND: how the patch around a voxel resembles its neighbours, whatever the modality."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses
from kauldron.ktyping import Array, Float, typechecked
from kauldron.metrics import arrays
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.losses import _places


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mind(losses.Loss):
    """Mean squared difference of the MIND descriptors of two volumes, of each place.

    The descriptor of a voxel has a number for each pair of places around it,
    `exp(-D / V)`: `D` is the mean squared difference of the patches around the two, `V` the
    mean of `D` over all pairs; it is divided by the largest of the numbers. Beyond the
    border, the value of the border goes on.

    Attributes:
      preds: Key to volumes of any number of spatial axes, `Float["b *space c"]`.
      targets: Key to volumes of exactly the same shape.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1"]`: patches are compared there only. (A `mask` weighs the values
        `Array["b c"]`.)
      pairs: `'neighbours'` compares a place with each of its neighbours, as MIND;
        `'self_similarity'` neighbours at right angles with each other, as MIND-SSC.
      patch_radius: Half the width of a patch, in voxels: 1 for 3 x 3 x 3.
      dilation: Distance of the neighbours, in voxels.

    Raises:
      VolumeError: If the pairs are none, a radius is negative, or a distance below 1.
      ValueError: If the shapes differ.

    Reference: Heinrich et al. 2012, MIND: Modality independent neighbourhood descriptor for
      multi-modal deformable registration; 2013, Towards realtime multimodal fusion for
      image-guided interventions using self-similarities (SSC).
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None
    pairs: Literal["neighbours", "self_similarity"] = "neighbours"
    patch_radius: int = 1
    dilation: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs not in ("neighbours", "self_similarity"):
            raise VolumeError(
                f"`pairs` is 'neighbours' or 'self_similarity': got {self.pairs!r}."
            )
        if self.patch_radius < 0 or self.dilation < 1:
            raise VolumeError(
                "`patch_radius` is >= 0 and `dilation` >= 1: got "
                f"{self.patch_radius!r} and {self.dilation!r}."
            )

    @typechecked
    def get_values(
        self,
        preds: Array["b *space c"],
        targets: Array["b *space c"],
        region_mask: Array | None = None,
    ) -> Float["b c"]:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        inside = _places.inside(region_mask, preds.shape)
        one, other = (
            self.describe(_places.only_inside(arrays.to_float(x), inside), inside)
            for x in (preds, targets)
        )
        values = jnp.square(one - other).mean(axis=0)
        space = tuple(range(1, values.ndim - 1))
        if inside is None:
            return values.mean(axis=space)
        count = inside.sum(axis=space)
        return (values * inside).sum(axis=space) / jnp.where(count == 0, 1, count)

    def _is_masked(self, name: str, mask: Array | float, shape: tuple[int, ...]) -> Any:
        del name
        return _places.masked_channels(mask, shape)

    def describe(
        self, x: Float["b *space c"], inside: jax.Array | None
    ) -> Float["pairs b *space c"]:
        """Returns the descriptors of all places."""
        weights = jnp.ones_like(x) if inside is None else inside
        x, weights = (_padded(y, self.dilation) for y in (x, weights))
        space = tuple(n - 2 * self.dilation for n in x.shape[1:-1])
        # The pairs are examples of one batch.
        first, second = zip(*self._offsets(x.ndim - 2), strict=True)
        both = _at(weights, first, space) * _at(weights, second, space)
        squares = jnp.square(_at(x, first, space) - _at(x, second, space)) * both
        count = jnp.maximum(_patch_sum(both, self.patch_radius), 1)
        distance = _patch_sum(squares, self.patch_radius) / count
        distance = distance.reshape(len(first), -1, *distance.shape[1:])
        # Where all is flat, so that every pair is alike.
        variance = jnp.maximum(distance.mean(axis=0), 1e-12)
        # The largest number belongs to the smallest distance.
        nearest = distance.min(axis=0)
        return jnp.exp(-(distance - nearest) / variance)

    def _offsets(self, num_axes: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the places of each pair, relative to the voxel."""
        steps = self.dilation * np.concatenate([np.eye(num_axes, dtype=int)] * 2)
        steps[num_axes:] *= -1
        if self.pairs == "neighbours":
            return [(np.zeros(num_axes, int), step) for step in steps]
        both = itertools.combinations(steps, 2)
        return [(a, b) for a, b in both if np.dot(a, b) == 0]


def _padded(x: jax.Array, width: int) -> jax.Array:
    """Returns an array that goes on beyond its border with the values there."""
    widths = [(0, 0), *[(width, width)] * (x.ndim - 2), (0, 0)]
    return jnp.pad(x, widths, mode="edge")


def _at(
    padded: jax.Array, offsets: Sequence[np.ndarray], space: tuple[int, ...]
) -> Float["n *space c"]:
    """Returns what is at offsets from all places, one after the other."""
    width = (padded.shape[1] - space[0]) // 2
    parts = []
    for offset in offsets:
        inner = [
            slice(width + step, width + step + size)
            for step, size in zip(offset.tolist(), space, strict=True)
        ]
        parts.append(padded[:, *inner])
    return jnp.concatenate(parts)


def _patch_sum(x: jax.Array, radius: int) -> jax.Array:
    """Returns sums over the patches around all places; beyond the border is the border."""
    x = _padded(x, radius)
    zero = np.zeros((), x.dtype)  # a traced one would hide that this is a sum
    for axis in range(1, x.ndim - 1):
        sizes = [1] * x.ndim
        sizes[axis] = 2 * radius + 1
        ones = (1,) * x.ndim
        x = jax.lax.reduce_window(x, zero, jax.lax.add, tuple(sizes), ones, "VALID")
    return x
