"""Where the voxels of an augmented volume come from: one map of coordinates."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np

from kauldron.volumes.augment.splines import Spline
from kauldron.volumes.geometry.base import Geometry, Region, Shape
from kauldron.volumes.transforms.sampling import (
    Coordinates,
    affine_coordinates,
    corners,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The volume that something is drawn for.

    Attributes:
      shape: Number of voxels along (z, y, x).
      geometry: Where they are.
    """

    shape: Shape
    geometry: Geometry

    @property
    def center(self) -> np.ndarray:
        """Index of the middle, with fractions, `f64[3]`."""
        return (np.array(self.shape) - 1) / 2


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """`source = matrix @ index + offset`, in voxels along (z, y, x)."""

    matrix: np.ndarray
    offset: np.ndarray

    @classmethod
    def about(cls, matrix: np.ndarray, center: np.ndarray) -> Self:
        """Returns the map that leaves a point where it is."""
        return cls(matrix=matrix, offset=center - matrix @ center)

    def after(self, other: Affine) -> Affine:
        """Returns the map that applies the other one first."""
        return Affine(
            matrix=self.matrix @ other.matrix,
            offset=self.matrix @ other.offset + self.offset,
        )

    def inverted(self) -> Affine:
        """Returns the map back."""
        inverse = np.linalg.inv(self.matrix)
        return Affine(matrix=inverse, offset=-inverse @ self.offset)

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Returns the places of indices, `f64[... 3]`."""
        return index @ self.matrix.T + self.offset

    def as_turn(self) -> tuple[Shape, Shape, Shape] | None:
        """Returns axis, sign and offset of each axis, if voxels come from voxels."""
        rounded = np.rint(self.matrix)
        offset = np.rint(self.offset)
        is_whole = (
            np.abs(self.matrix - rounded).max() < 1e-9
            and np.abs(self.offset - offset).max() < 1e-6
            and (np.abs(rounded).sum(axis=0) == 1).all()
            and (np.abs(rounded).sum(axis=1) == 1).all()
        )
        if not is_whole:
            return None
        order = np.abs(rounded).argmax(axis=0)
        sign = rounded.sum(axis=0)
        z, y, x = (int(k) for k in order)
        a, b, c = (int(s) for s in sign)
        u, v, w = (int(offset[k]) for k in order)
        return (z, y, x), (a, b, c), (u, v, w)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PlaceMap:
    """Leads from voxels of the augmented volume to places in the source.

    `source = affine(index + spline(index))`: the source is moved by the affine map
    first, then deformed.

    Attributes:
      affine: The linear part.
      spline: The deformation, if there is one.
    """

    affine: Affine
    spline: Spline | None = None

    def coordinates(self, region: Region) -> Coordinates:
        """Returns the function from slabs of a region to their coordinates."""
        affine = affine_coordinates(self.affine.matrix, self.affine.offset, np.float32)
        if self.spline is None:
            return affine
        field = self.spline.mapped(self.affine.matrix).prepared(region)

        def deformed(slab: Region) -> np.ndarray:
            places = affine(slab)
            places += field(slab)
            return places

        return deformed

    def bounds(self, region: Region) -> tuple[np.ndarray, np.ndarray]:
        """Returns coordinates that none of a region lies beyond."""
        low, high = corners(self.affine.matrix, self.affine.offset, region)
        reach = np.zeros(3)
        if self.spline is not None:
            reach = self.spline.mapped(self.affine.matrix).largest
        # Coordinates are computed in f32.
        slack = 1e-6 * (1 + np.abs(low) + np.abs(high))
        return low - reach - slack, high + reach + slack

    def to_source(self, index: np.ndarray) -> np.ndarray:
        """Returns the places of indices in the source, `f64[n 3]`."""
        moved = index if self.spline is None else index + self.spline.at(index)
        return self.affine(moved)

    def from_source(self, place: np.ndarray) -> np.ndarray:
        """Returns where places of the source are in the augmented volume."""
        target = self.affine.inverted()(place)
        if self.spline is None:
            return target
        index = target
        # The shift is a contraction (see `Elastic`): each step takes 0.62 of the error.
        for _ in range(60):
            step = target - self.spline.at(index)
            if len(step) == 0 or np.abs(step - index).max() < 1e-9:
                return step
            index = step
        return index

    def jacobian(self, region: Region) -> np.ndarray:
        """Returns the derivative of the places, `f32[3 3]` or `f32[z y x 3 3]`."""
        matrix = self.affine.matrix.astype(np.float32)
        if self.spline is None:
            return matrix
        return matrix + self.spline.mapped(self.affine.matrix).jacobian(region)
