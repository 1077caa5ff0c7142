"""Spatial transformer: images warped by dense displacements, linear interpolation."""

from __future__ import annotations

import math
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from kauldron.ktyping import Float, typechecked
from kauldron.modules.images import _deformations, _resampling, _spatial

Outside = Literal["edge", "zero"]


class SpatialTransformer(nn.Module):
    """Warps an image by a field of displacements: `out[p] = image[p + field[p]]`.

    Displacements are in voxels (pixels) of the image, their channels in the order of its
    axes: `(d, h, w)` in 3-D. Between voxels, values are interpolated linearly; positions
    and weights are computed in f32. It has no parameters.

    Attributes:
      num_spatial_axes: 1, 2 or 3.
      outside: What is seen beyond the image: `"edge"`, the nearest voxel, or `"zero"`.
      num_integration_steps: If positive, the field is a stationary velocity, in voxels
        per unit of time, and is integrated over one unit by that many squarings.

    Raises:
      ValueError: If displacements have more or fewer channels than there are axes.

    References: Jaderberg et al. 2015, Spatial Transformer Networks, arXiv:1506.02025;
    Arsigny et al. 2006, A Log-Euclidean Framework for Statistics on Diffeomorphisms.
    """

    num_spatial_axes: int = 2
    outside: Outside = "edge"
    num_integration_steps: int = 0

    @nn.compact
    @typechecked
    def __call__(
        self,
        image: Float["*b *n c"],
        field: Float["*b *n axes"],
    ) -> Float["*b *n c"]:
        num_axes = self.num_spatial_axes
        if field.shape[-1] != num_axes:
            raise ValueError(
                f"The displacements of {type(self).__name__} need {num_axes} channels, one "
                f"for each spatial axis (`num_spatial_axes`): got {field.shape[-1]}, in "
                f"{field.shape}."
            )
        _spatial.check_rank(image, num_axes, type(self).__name__)
        _resampling.check_method(self.outside, ("edge", "zero"))
        split = image.ndim - num_axes - 1
        leading = math.prod(image.shape[:split])
        flat = image.reshape(leading, *image.shape[split:])
        # bf16 cannot tell neighbouring voxels apart past 256.
        dtype = jnp.promote_types(field.dtype, jnp.float32)
        field = field.astype(dtype).reshape(leading, *field.shape[split:])
        if self.num_integration_steps:
            field = _deformations.integrate_velocity(field, self.num_integration_steps)
        return _deformations.warp(flat, field, self.outside).reshape(image.shape)
