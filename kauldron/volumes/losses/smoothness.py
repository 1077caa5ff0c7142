"""How much a field changes from voxel to voxel."""

from __future__ import annotations

import dataclasses
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
class GradientSmoothness(losses.Loss):
    """Mean squared (or absolute) gradient of a field, such as a displacement.

    Per example: the differences of neighbours by their distance, the mean over the
    components and the places of each axis, and of these the mean over axes.

    Attributes:
      field: Key to fields of any number of spatial axes, each at least 2 long,
        `Float["b *space c"]`.
      region_mask: Key to the places that count, `Array["b *space"]` or
        `Array["b *space 1"]`: both neighbours of a difference do. (A `mask` weighs the
        values, `Array["b"]`.)
      penalty: `'l2'` for squares, `'l1'` for absolute values.
      spacing_mm: Distance of neighbours along the axes, or one number for all. With the
        field in the same unit, the gradient has none.

    Raises:
      VolumeError: If the penalty or the spacing is none, or the field has no such axes.

    Reference: Balakrishnan et al. 2018, VoxelMorph, eq. 8, arXiv:1809.05231.
    """

    field: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None
    penalty: Literal["l2", "l1"] = "l2"
    spacing_mm: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty not in ("l2", "l1"):
            raise VolumeError(f"`penalty` is 'l2' or 'l1': got {self.penalty!r}.")
        if not (np.asarray(self.spacing_mm) > 0).all():
            raise VolumeError(f"`spacing_mm` is above 0: got {self.spacing_mm!r}.")

    @typechecked
    def get_values(
        self, field: Array["b *space c"], region_mask: Array | None = None
    ) -> Float["b 1"]:
        num_axes = field.ndim - 2
        spacing = np.ravel(self.spacing_mm)
        if (
            num_axes < 1
            or min(field.shape[1:-1]) < 2
            or spacing.size not in (1, num_axes)
        ):
            raise VolumeError(
                "GradientSmoothness needs fields `f[b *space c]` of at least 2 voxels along "
                f"each axis, and a spacing for each: got the shape {field.shape} and "
                f"{self.spacing_mm!r} mm."
            )
        inside = _places.inside(region_mask, field.shape)
        x = _places.only_inside(arrays.to_float(field), inside)
        means = []
        for axis, step in enumerate(
            np.broadcast_to(spacing, num_axes).tolist(), start=1
        ):
            change = jnp.diff(x, axis=axis) / step
            change = jnp.square(change) if self.penalty == "l2" else jnp.abs(change)
            means.append(_mean(change, _of_neighbours(inside, axis)))
        return jnp.stack(means, axis=-1).mean(axis=-1, keepdims=True)

    def _is_masked(self, name: str, mask: Array | float, shape: tuple[int, ...]) -> Any:
        del name
        return _places.masked_channels(mask, shape)


def _of_neighbours(inside: jax.Array | None, axis: int) -> jax.Array | None:
    if inside is None:
        return None
    size = inside.shape[axis]
    first = jax.lax.slice_in_dim(inside, 0, size - 1, axis=axis)
    return first * jax.lax.slice_in_dim(inside, 1, size, axis=axis)


def _mean(x: jax.Array, weights: jax.Array | None) -> Float["*b"]:
    axes = tuple(range(1, x.ndim))
    if weights is None:
        return x.mean(axis=axes)
    count = weights.sum(axis=axes)
    return (x * weights).sum(axis=axes) / jnp.where(count == 0, 1, count)
