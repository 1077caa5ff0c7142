"""The arguments of a model, cut into patches."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.modules.patches import blending, slices, tilings


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The arguments of a model, ready to be cut.

    Attributes:
      tiles: The patches.
      arguments: `(args, kwargs)`, with what is cut marked.
      num_leading: Number of axes in front of the spatial ones, of the first image.
    """

    tiles: tilings.Tiles
    arguments: Any
    num_leading: int

    @classmethod
    def of(
        cls, tiling: tilings.Tiling, arguments: Any, context_slices: int
    ) -> Arguments:
        num_axes = len(tiling.sizes)
        arrays = [x for x in jax.tree.leaves(arguments) if np.ndim(x) > num_axes]
        if not arrays:
            raise tilings.PatchError(
                f"`PatchWise` cuts arrays with {num_axes} spatial axes and channels "
                f"behind them: got the shapes "
                f"{[np.shape(x) for x in jax.tree.leaves(arguments)]}."
            )
        shape = np.shape(arrays[0])[-num_axes - 1 : -1]
        tiles = tiling.tiles(shape)

        def padded(x: Any) -> Any:
            if not blending.is_image(x, tiles):
                return x
            if context_slices:
                x = _with_context(x, num_axes, context_slices)
            return _Image(blending.padded(x, tiles))

        num_leading = np.ndim(arrays[0]) - num_axes - 1
        return cls(tiles, jax.tree.map(padded, arguments), num_leading)

    def at(self, start: Any) -> Any:
        """Returns the arguments for the patch at a start."""

        def patch(x: Any) -> Any:
            if not isinstance(x, _Image):
                return x
            return blending.patch(x.array, self.tiles, start)

        return jax.tree.map(
            patch, self.arguments, is_leaf=lambda x: isinstance(x, _Image)
        )


@dataclasses.dataclass(frozen=True)
class _Image:
    """An argument that is cut; not a pytree, so that it is told from the others."""

    array: jax.Array


def _with_context(x: jax.Array, num_axes: int, context_slices: int) -> jax.Array:
    """Returns an image with the neighbours of each slice in its channels."""
    axis = x.ndim - num_axes - 1
    around = slices.neighbours(x.shape[axis], context_slices)
    return jnp.concatenate(
        [jnp.take(x, index, axis=axis) for index in around.T], axis=-1
    )
