"""Registration: a network that finds how one image has to move to lie on another."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import Array, DType, Float, typechecked
from kauldron.modules.images import (
    _conv,
    _deformations,
    _resampling,
    _spatial,
    _spatial_transformer,
)


class Registration(nn.Module):
    """Brings a moving image onto a fixed one by a smooth map that has an inverse.

    A network sees both images and gives a stationary velocity, which is followed for one
    unit of time (VoxelMorph). Returns a dict:

    - `warped`, `f[*b *n c]`: the moving image as the fixed one sees it,
      `moving[p + field[p]]`;
    - `field`, `f32[*b *n axes]`: displacements in voxels of the moving image, channels in
      the order of the axes: `(z, y, x)` for arrays `z y x c`;
    - `inverse_field`, likewise: of the fixed image, so that `fixed[p + inverse_field[p]]`
      lies on the moving one;
    - `velocity`, `f32[*b *m axes]`: in voxels of its own grid, for losses of smoothness;
    - `jacobian`, `f32[*b *n]`: how much volume of the moving image a voxel becomes; not
      positive where `field` folds space;
    - `points`, if there is a key to points: where they are in the moving image.

    What no loss or metric reads costs nothing. Before training, nothing moves.

    Attributes:
      network: From both images, `f[*b *m c]`, the moving one first, to features of the
        same positions, or to a dict with such features as `logits`: such as
        `kd.nn.UNet(num_classes=16, kernel_size=(3, 3, 3))`. One more convolution makes
        the velocity of them.
      num_spatial_axes: 1, 2 or 3.
      strides: How many times coarser the grid of the network and of the velocity is, of
        all axes or of each: the images are averaged, and the field is interpolated.
      num_integration_steps: Number of squarings, see `kd.nn.integrate_velocity`.
      outside: What is seen beyond the moving image: `"edge"` or `"zero"`.
      param_dtype: Of the parameters of that convolution.
      moving: Key to the image that moves, `f[*b *n c]`.
      fixed: Key to the image that stays, `f[*b *n c]`.
      points: Key to positions in the fixed image, `f[*b p axes]`, in voxels.

    Raises:
      ValueError: If the axes of the images are no multiples of `strides`, or the network
        gives features of other positions.

    Reference: Balakrishnan et al. 2019, VoxelMorph, arXiv:1809.05231; Dalca et al. 2018,
    Unsupervised Learning for Fast Probabilistic Diffeomorphic Registration,
    arXiv:1805.04605 (ours has the mean only).
    """

    network: nn.Module
    num_spatial_axes: int = 3
    strides: _spatial.PerAxis = 1
    num_integration_steps: int = 7
    outside: _spatial_transformer.Outside = "edge"
    param_dtype: DType = jnp.float32
    moving: kontext.Key = kontext.REQUIRED
    fixed: kontext.Key = kontext.REQUIRED
    points: kontext.Key | None = None

    @nn.compact
    @typechecked
    def __call__(
        self,
        moving: Float["*b *n c"],
        fixed: Float["*b *n d"],
        points: Array | None = None,
    ) -> dict[str, Any]:
        num_axes = self.num_spatial_axes
        _spatial.check_rank(moving, num_axes, type(self).__name__)
        strides = _spatial.per_axis(self.strides, num_axes, "strides")
        self._check_sizes(moving, strides)
        coarse = _resampling.pool(
            jnp.concatenate([moving, fixed], axis=-1), strides, "average"
        )
        velocity = self._velocity(coarse)
        integrate = self._integrate
        field = integrate(velocity, strides)
        warp = _spatial_transformer.SpatialTransformer(num_axes, outside=self.outside)
        preds = {
            "warped": warp(moving, field),
            "field": field,
            "inverse_field": integrate(-velocity, strides),
            "velocity": velocity,
            "jacobian": _deformations.jacobian_determinant(field),
        }
        if points is not None:
            preds["points"] = _deformations.move_points(points, field)
        return preds

    @nn.nowrap
    def _velocity(self, images: jax.Array) -> jax.Array:
        features = self.network(images)
        if isinstance(features, dict):
            features = features["logits"]
        if features.shape[:-1] != images.shape[:-1]:
            raise ValueError(
                "The network of Registration must give features of the positions that it "
                f"sees: got {features.shape}, of images {images.shape}."
            )
        num_axes = self.num_spatial_axes
        flow = _conv.Conv(
            num_axes,
            (3,) * num_axes,
            kernel_init=nn.initializers.normal(1e-5),
            param_dtype=self.param_dtype,
            name="flow",
        )
        # Neighbouring voxels of the field differ by less than bf16 can tell.
        return flow(features).astype(jnp.float32)

    @nn.nowrap
    def _integrate(self, velocity: jax.Array, strides: tuple[int, ...]) -> jax.Array:
        field = _deformations.integrate_velocity(velocity, self.num_integration_steps)
        if set(strides) == {1}:
            return field
        fine = _resampling.interpolate(field, strides, "linear")
        return fine * jnp.broadcast_to(jnp.asarray(strides, fine.dtype), fine.shape)

    @nn.nowrap
    def _check_sizes(self, image: jax.Array, strides: tuple[int, ...]) -> None:
        sizes = image.shape[-self.num_spatial_axes - 1 : -1]
        if any(n % s for n, s in zip(sizes, strides, strict=True)):
            raise ValueError(
                "The axes of the images of Registration must be multiples of its "
                f"`strides`, {strides}: got {tuple(sizes)}."
            )
