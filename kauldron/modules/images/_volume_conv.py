"""Convolutions of volumes: on a CPU, sums of convolutions of their slices."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

_VOLUMES = ("NDHWC", "DHWIO", "NDHWC")
_SLICES = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] = (1, 1, 1),
    rhs_dilation: Sequence[int] = (1, 1, 1),
    feature_group_count: int = 1,
) -> jax.Array:
    """Does what `jax.lax.conv_general_dilated` does with `b d h w c`.

    XLA's convolutions of volumes are slow on a CPU: four times as slow as those of
    slices, and their gradients 10 to 50 times if there are strides (jax 0.10.2).
    """
    direct = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=_VOLUMES,
        feature_group_count=feature_group_count,
    )
    if tuple(lhs_dilation) == (1, 1, 1):
        on_cpu = functools.partial(
            _sum_over_slices,
            strides=window_strides,
            padding=padding,
            dilation=rhs_dilation,
            groups=feature_group_count,
        )
    elif tuple(lhs_dilation) == kernel.shape[:3]:
        on_cpu = _spread_voxels
    else:
        return direct(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=direct)


def _sum_over_slices(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> jax.Array:
    """Convolves slices with each slice of the kernel, and adds up."""
    (size, *_), (stride, *_), (gap, *_) = kernel.shape, strides, dilation
    x = jnp.pad(x, ((0, 0), padding[0], (0, 0), (0, 0), (0, 0)))
    depth = (x.shape[1] - gap * (size - 1) - 1) // stride + 1
    total = jnp.zeros((), jnp.promote_types(x.dtype, jnp.float32))
    for i in range(size):
        seen = x[:, i * gap : i * gap + stride * (depth - 1) + 1 : stride]
        part = jax.lax.conv_general_dilated(
            seen.reshape(-1, *x.shape[2:]),
            kernel[i],
            window_strides=strides[1:],
            padding=padding[1:],
            rhs_dilation=dilation[1:],
            dimension_numbers=_SLICES,
            feature_group_count=groups,
        )
        total = part.astype(total.dtype) + total
    return total.astype(x.dtype).reshape(len(x), depth, *total.shape[1:])


def _spread_voxels(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Makes a block of each voxel: a transposed convolution without overlap."""
    blocks = jnp.einsum("bdhwi,xyzio->bdxhywzo", x, jnp.flip(kernel, (0, 1, 2)))
    sizes = [n * k for n, k in zip(x.shape[1:4], kernel.shape[:3], strict=True)]
    return blocks.reshape(len(x), *sizes, kernel.shape[-1])
