"""Dense displacements of images: sampling, integration, points, volume change."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp

from kauldron.ktyping import Float, typechecked
from kauldron.modules.images import _spatial


@typechecked
def integrate_velocity(
    velocity: Float["*b *n axes"], num_steps: int = 7
) -> Float["*b *n axes"]:
    """Follows a stationary velocity for one unit of time, by scaling and squaring.

    The small displacement of one of `2**num_steps` parts of the time is composed with
    itself again and again. The field of `-velocity` is the inverse.

    Args:
      velocity: Voxels per unit of time, along the axes of the array in their order: as
        many axes in front of the last as it has channels.
      num_steps: Number of squarings.

    Returns:
      Displacements in voxels, in f32 or the wider type of the velocity.

    Reference: Arsigny et al. 2006, A Log-Euclidean Framework for Statistics on
    Diffeomorphisms.
    """
    num_axes = velocity.shape[-1]
    _spatial.check_rank(velocity, num_axes, "integrate_velocity")
    # bf16 cannot tell neighbouring voxels apart past 256.
    wide = velocity.astype(jnp.promote_types(velocity.dtype, jnp.float32))
    flat = _flat(wide, num_axes)

    def double(_: int, field: jax.Array) -> jax.Array:
        return field + warp(field, field, "edge")

    field = jax.lax.fori_loop(0, num_steps, double, flat / 2**num_steps)
    return field.reshape(velocity.shape)


@typechecked
def move_points(
    points: Float["*b p axes"], field: Float["*b *n axes"]
) -> Float["*b p axes"]:
    """Returns where displacements take points: `points + field[points]`.

    Args:
      points: Positions in voxels, between them as well.
      field: Displacements in voxels; linear between voxels, and held beyond the edges.
    """
    num_axes = points.shape[-1]
    dtype = jnp.promote_types(field.dtype, jnp.float32)
    wide = points.astype(dtype)
    at = wide.reshape(-1, *points.shape[-2:])
    moved = wide + sample(_flat(field, num_axes), at, "edge").reshape(points.shape)
    return moved.astype(points.dtype)


@typechecked
def jacobian_determinant(field: Float["*b *n axes"]) -> Float["*b *n"]:
    """Returns how much volume displacements make of that of a voxel.

    It is the determinant of the derivative of `p + field[p]`, by central differences (at
    the edges by those of neighbours): 1 where nothing changes, and not positive where
    space is folded.
    """
    num_axes = field.shape[-1]
    _spatial.check_rank(field, num_axes, "jacobian_determinant")
    axes = range(field.ndim - 1 - num_axes, field.ndim - 1)
    columns = [jnp.asarray(jnp.gradient(field, axis=axis)) for axis in axes]
    matrix = jnp.stack(columns, axis=-1)
    return jnp.linalg.det(matrix + jnp.broadcast_to(jnp.eye(num_axes), matrix.shape))


def warp(image: jax.Array, field: jax.Array, outside: str) -> jax.Array:
    """Samples `b *n c` at voxels moved by `b *n axes`."""
    grid = jnp.meshgrid(
        *(jnp.arange(n, dtype=field.dtype) for n in image.shape[1:-1]), indexing="ij"
    )
    return sample(image, jnp.stack(grid, axis=-1)[None] + field, outside)


def sample(image: jax.Array, at: jax.Array, outside: str) -> jax.Array:
    """Samples `b *n c` at positions `b *m axes`, linearly."""
    sizes = image.shape[1:-1]
    low = jnp.floor(at)
    part = at - low
    shape = (*at.shape[:-1], image.shape[-1])
    total = jnp.zeros(shape, jnp.promote_types(image.dtype, at.dtype))
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        index = jnp.zeros(at.shape[:-1], jnp.int32)
        weight = jnp.ones(at.shape[:-1], at.dtype)
        for axis, (step, size) in enumerate(zip(corner, sizes, strict=True)):
            position = low[..., axis] + step
            share = part[..., axis]
            weight *= share if step else 1 - share
            if outside == "zero":
                weight *= (position >= 0) & (position <= size - 1)
            # Clipped as a float: a large displacement does not fit into an integer.
            inside = jnp.clip(position, 0, size - 1).astype(jnp.int32)
            index = index * size + inside
        total += weight[..., None] * _take(image, index)
    return total.astype(image.dtype)


@jax.vmap
def _take(image: jax.Array, index: jax.Array) -> jax.Array:
    return image.reshape(-1, image.shape[-1])[index]


def _flat(field: jax.Array, num_axes: int) -> jax.Array:
    """Makes one leading axis of all."""
    split = field.ndim - 1 - num_axes
    return field.reshape(math.prod(field.shape[:split]), *field.shape[split:])
