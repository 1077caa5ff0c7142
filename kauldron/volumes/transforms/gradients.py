"""Slopes, and the units of vectors."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Halo,
    Kind,
    Part,
    Undo,
    VolumeTransform,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradient(VolumeTransform):
    """Makes slopes of values, per millimetre, by central differences.

    At the outer voxels, the difference to the one neighbour; along an axis of one voxel,
    no slope.

    Attributes:
      output: 'magnitude', one number for each channel, or 'vector', of a volume of one
        channel: three, along (x, y, z) of the world.
    """

    output: Literal["magnitude", "vector"] = "magnitude"

    def __post_init__(self) -> None:
        if self.output not in ("magnitude", "vector"):
            raise VolumeError(
                f"`Gradient.output` is 'magnitude' or 'vector': got {self.output!r}."
            )

    @property
    def reach(self) -> Halo:
        """The neighbours."""
        return Halo((1, 1, 1))

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the slopes of a region."""
        x = part.array
        if self.output == "vector" and x.shape[3] != 1:
            raise VolumeError(
                "`Gradient(output='vector')` is for volumes of one channel: got "
                f"{x.shape[3]}."
            )
        x = x.astype(np.float64 if x.dtype == np.float64 else np.float32)
        slopes = [
            np.gradient(x, axis=axis) if x.shape[axis] > 1 else np.zeros_like(x)
            for axis in range(3)
        ]
        # Of value(index), index(point): the slope is inv(matrix).T @ slope by index.
        turn = np.linalg.inv(part.geometry.matrix).T
        world = [
            sum(weight * slope for weight, slope in zip(row, slopes, strict=True))
            for row in turn.astype(x.dtype)
        ]
        if self.output == "vector":
            result = np.concatenate(world, axis=3)
        else:
            result = np.sqrt(sum(np.square(w) for w in world))
        return dataclasses.replace(part, array=result).cropped(region)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorUnits(VolumeTransform):
    """Tells displacements in the world, or in voxels of the volume.

    Voxels are counted along the axes of the array: they change with a flip, a
    permutation, another spacing. Put the world before such transforms and voxels behind
    them.

    Attributes:
      to: 'mm': vectors along (z, y, x) in voxels become those along (x, y, z) of the
        world in millimetres. 'voxels': the other way.
    """

    to: Literal["mm", "voxels"] = "mm"

    def __post_init__(self) -> None:
        if self.to not in ("mm", "voxels"):
            raise VolumeError(f"`VectorUnits.to` is 'mm' or 'voxels': got {self.to!r}.")

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """Vectors."""
        return ("image", "vector", "vector_mm")

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the vectors of a region in their new units."""
        x = part.cropped(region)
        if x.shape[3] != 3:
            raise VolumeError(
                f"Vectors have 3 components: got an array of shape {x.shape}."
            )
        matrix = part.geometry.matrix
        if self.to == "voxels":
            matrix = np.linalg.inv(matrix)
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        # Not a product of matrices: its sums hang on how many vectors there are.
        terms = [x[..., [k]] * matrix[:, k].astype(dtype) for k in range(3)]
        return (terms[0] + terms[1]) + terms[2]

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the other way."""
        del undo
        return VectorUnits(to="voxels" if self.to == "mm" else "mm")
