"""Batches of patches of a volume, read slab by slab."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kauldron.modules.patches import slices, tilings
from kauldron.sharding import aligned_arrays


class VolumePatches:
    """The patches of a volume; holds the planes of one row of them at most.

    Args:
      array: `[z y x c]`, anything that is sliced like an array.
      tiles: The patches.
      pad: Value of what lies outside of the volume.
      context_slices: Number of neighbouring slices in the channels.
    """

    def __init__(
        self, array: Any, tiles: tilings.Tiles, pad: float, context_slices: int
    ) -> None:
        self._array = np.asarray(array) if isinstance(array, jax.Array) else array
        self._tiles = tiles
        self._pad = pad
        self._neighbours = slices.neighbours(tiles.shape[0], context_slices)
        self._has_context = bool(context_slices)
        self._planes: tuple[int, int] | None = None
        self._slab: Any = None

    def batch(self, starts: np.ndarray) -> np.ndarray:
        """Returns patches, `[p *size c]`, a new array each time."""
        size = self._tiles.size
        num_channels = np.shape(self._array)[-1] * self._neighbours.shape[1]
        shape = (len(starts), *size, num_channels)
        batch = aligned_arrays.empty(shape, self._array.dtype)
        for patch, (z, y, x) in zip(batch, starts, strict=True):
            part = self._rows(z)[:, y : y + size[1], x : x + size[2]]
            if part.shape != patch.shape:
                patch[...] = self._pad
            patch[tuple(slice(n) for n in part.shape)] = part
        return batch

    def _rows(self, z: int) -> np.ndarray:
        """Returns the planes of a patch that starts at `z`, with their neighbours."""
        if not self._has_context:
            return self._read(z, z + self._tiles.size[0])
        around = self._neighbours[z]
        planes = self._read(around.min(), around.max() + 1)
        return np.concatenate([planes[i : i + 1] for i in around - around.min()], -1)

    def _read(self, low: int, high: int) -> np.ndarray:
        planes = int(low), min(int(high), self._tiles.shape[0])
        if planes != self._planes:
            # Arrays in memory, and memory maps, give a view: nothing is read yet.
            self._slab = np.asarray(self._array[planes[0] : planes[1]])
            self._planes = planes
        return self._slab
