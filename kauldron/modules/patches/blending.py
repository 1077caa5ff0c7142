"""Cutting patches out of arrays, and blending them together again, inside jit.

Arrays are `[*b *n c]`: spatial axes in front of the channels.

What is kept is the weighted mean of the patches so far, in f32, rather than a sum: where
patches agree, it is exact, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Float, PyTree
from kauldron.modules.patches import tilings


def is_image(x: Any, tiles: tilings.Tiles) -> bool:
    """Whether an array has the spatial shape that is tiled."""
    num_axes = len(tiles.shape)
    return np.ndim(x) > num_axes and np.shape(x)[-num_axes - 1 : -1] == tiles.shape


def padded(x: Any, tiles: tilings.Tiles) -> jax.Array:
    """Returns an array with zeros behind each axis up to where patches reach."""
    widths = [(0, n - size) for n, size in zip(tiles.padded, tiles.shape, strict=True)]
    leading = [(0, 0)] * (np.ndim(x) - len(widths) - 1)
    if not any(width for _, width in widths):
        return jnp.asarray(x)
    return jnp.pad(x, [*leading, *widths, (0, 0)])


def patch(x: Any, tiles: tilings.Tiles, start: Any) -> jax.Array:
    """Returns the patch of a padded array at a start, which may be traced."""
    x = jnp.asarray(x)
    leading = x.ndim - len(tiles.size) - 1
    sizes = (*x.shape[:leading], *tiles.size, x.shape[-1])
    return jax.lax.dynamic_slice(x, _corner(x.ndim, start), sizes)


def cut(x: Any, tiles: tilings.Tiles) -> jax.Array:
    """Returns all patches of an array, `[*b *n c]` -> `[p *b *size c]`.

    Raises:
      PatchError: If it has another spatial shape.
    """
    if not is_image(x, tiles):
        raise tilings.PatchError(
            f"What is cut has the spatial shape of the input, {tiles.shape}, and "
            f"channels behind it: got {np.shape(x)}."
        )
    x = padded(x, tiles)
    return jax.vmap(lambda start: patch(x, tiles, start))(tiles.all_starts())


def check(patches: PyTree, tiles: tilings.Tiles) -> None:
    """Checks that outputs can be put together.

    Args:
      patches: Shapes and dtypes of what a patch gives, `[*b *size c]`.
      tiles: The patches.

    Raises:
      PatchError: If an output has not the size of a patch, or is not floating.
    """
    for path, spec in jax.tree_util.tree_leaves_with_path(patches):
        where = f"`{jax.tree_util.keystr(path)}`" if path else "what it returns"
        leading = len(spec.shape) - len(tiles.size) - 1
        if leading < 0 or tuple(spec.shape[leading:-1]) != tiles.size:
            raise tilings.PatchError(
                f"Patches are put together from arrays of their size, {tiles.size}, with "
                f"channels behind it: {where} has the shape {tuple(spec.shape)}. Give "
                "the model patches whose size its strides divide."
            )
        if not jnp.issubdtype(spec.dtype, jnp.floating):
            raise tilings.PatchError(
                f"Where patches overlap, their values are averaged, which takes floating "
                f"scores: {where} is {spec.dtype}. Take the argmax of what is assembled."
            )


def zeros(patches: PyTree, tiles: tilings.Tiles, shape: Sequence[int]) -> Any:
    """Returns the means that `blended` begins with; for the arguments, see `check`.

    Args:
      patches: Shapes and dtypes of what a patch gives.
      tiles: The patches.
      shape: Of the spatial axes of the means.
    """
    check(patches, tiles)
    num_axes = len(tiles.size)

    def start(spec: Any) -> jax.Array:
        leading = spec.shape[: len(spec.shape) - num_axes - 1]
        return jnp.zeros((*leading, *shape, spec.shape[-1]), jnp.float32)

    return jax.tree.map(start, patches)


def blended(
    means: PyTree,
    patches: PyTree,
    share: Float["*size 1"],
    start: Any,
    *,
    is_finite: bool = True,
) -> Any:
    """Returns the means with the outputs of one patch blended in at its start.

    Args:
      means: Tree of `f32[*b *n c]`.
      patches: Tree of `f[*b *size c]`.
      share: Of the patch in the new mean; 1 where it is the first.
      start: `i32[k]`.
      is_finite: Whether no output is infinite: otherwise, the mean of something infinite
        and something finite is infinite, and not NaN. Gradients then need all means.
    """

    def blend(mean: jax.Array, x: Array) -> jax.Array:
        corner = _corner(mean.ndim, start)
        there = jax.lax.dynamic_slice(mean, corner, x.shape)
        part = share.reshape(*(1,) * (x.ndim - share.ndim), *share.shape)
        x = x.astype(jnp.float32)
        moved = there + part * (x - there)
        if not is_finite:
            moved = jnp.where(jnp.isfinite(x - there), moved, there + x)
        return jax.lax.dynamic_update_slice(mean, moved, corner)

    return jax.tree.map(blend, means, patches)


def _corner(ndim: int, start: Any) -> list[Any]:
    start = jnp.asarray(start, jnp.int32)
    num_axes = start.shape[0]
    zero = jnp.zeros((), jnp.int32)
    leading = [zero] * (ndim - num_axes - 1)
    return [*leading, *(start[i] for i in range(num_axes)), zero]


def cropped(means: PyTree, shape: Sequence[int]) -> Any:
    """Returns the blended arrays without padding."""
    shape = tuple(shape)
    inside = (..., *(slice(n) for n in shape), slice(None))

    def crop(x: jax.Array) -> jax.Array:
        return x if x.shape[-len(shape) - 1 : -1] == shape else x[inside]

    return jax.tree.map(crop, means)
