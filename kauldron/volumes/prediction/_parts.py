"""Volumes of which parts are read: computed as they are asked for, or kept in files."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kauldron.ktyping import DType, PyTree
from kauldron.volumes.geometry.base import Region, Shape

# Planes are taken so many at a time that there are about as many numbers.
_SLAB_NUMBERS = 2**21


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """A volume `[z y x c]` that is nowhere as a whole.

    Attributes:
      shape: `(z, y, x, c)`.
      dtype: Of the voxels.
      read: Returns those of a region.
    """

    shape: tuple[int, ...]
    dtype: DType
    read: Callable[[Region], np.ndarray]

    def __getitem__(self, planes: slice) -> np.ndarray:
        """Returns planes along z."""
        depth, height, width, _ = self.shape
        start, stop, _ = planes.indices(depth)
        return self.read(Region((start, 0, 0), (stop, height, width)))


def read(volume: Any, region: Region) -> np.ndarray:
    """Returns a region of an array in memory, or of `Parts`."""
    if isinstance(volume, Parts):
        return volume.read(region)
    return volume[region.slices]


def slabs(shape: Sequence[int], num_channels: int = 1) -> Iterator[Region]:
    """Yields regions that make up a volume, some planes along z at a time."""
    depth, height, width = shape[:3]
    step = max(1, _SLAB_NUMBERS // (height * width * num_channels))
    for start in range(0, depth, step):
        yield Region((start, 0, 0), (min(start + step, depth), height, width))


def kept_in_files(
    predicted: Iterator[tuple[Region, PyTree]], shape: Shape, folder: pathlib.Path
) -> PyTree[Parts]:
    """Returns volumes that came slab by slab, in files of a folder.

    Args:
      predicted: Regions and a tree of what is there, `[z y x c]`; all of the volume.
      shape: Along (z, y, x).
      folder: An existing one; the files are its own.
    """
    files: list[_File] = []
    tree: Any = None
    for region, arrays in predicted:
        leaves, tree = jax.tree.flatten(arrays)
        if not files:
            files = [
                _File(folder / str(i), (*shape, x.shape[-1]), x.dtype)
                for i, x in enumerate(leaves)
            ]
        for file, array in zip(files, leaves, strict=True):
            file.write(region, array)
    volumes = [Parts(shape=f.shape, dtype=f.dtype, read=f.read) for f in files]
    return jax.tree.unflatten(tree, volumes)


@dataclasses.dataclass(frozen=True)
class _File:
    """The voxels of a volume as they are."""

    path: pathlib.Path
    shape: tuple[int, ...]
    dtype: np.dtype

    # A map counts as memory as long as it is there: there is one for each part.
    def write(self, region: Region, array: np.ndarray) -> None:
        self._map("r+" if self.path.exists() else "w+")[region.slices] = array

    def read(self, region: Region) -> np.ndarray:
        return np.array(self._map("r")[region.slices])

    def _map(self, mode: Any) -> np.memmap:
        return np.memmap(self.path, self.dtype, mode, shape=self.shape)
