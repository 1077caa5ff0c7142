"""Another grid for the same volume: by spacing, by shape, or like another group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms import _along_axes
from kauldron.volumes.transforms.base import (
    KINDS,
    Box,
    Kind,
    Others,
    Part,
    Reach,
    Undo,
    VolumeTransform,
    Whole,
    as_shape,
    other_image,
    per_axis,
)
from kauldron.volumes.transforms.sampling import (
    check_order,
    corners,
    sample,
    snapped_coordinates,
    touched,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resample(VolumeTransform):
    """Reads the volume at the voxels of another grid.

    One of `spacing_mm`, `shape`, `by`, or `shape` with `geometry`, says which. With a
    spacing or a shape alone, the new grid lies along the axes of the volume and has its
    centre; a shape alone has its extent as well.

    A coordinate beyond the outer voxels' centres reads the nearest voxel, beyond their
    faces (`< -0.5` or `>= n - 0.5` voxels) it gets `fill`. Integers are mixed as floats,
    rounded, and kept within their type.

    Attributes:
      spacing_mm: Distance of voxels along (z, y, x), or one for all. The number of voxels
        is rounded.
      shape: Number of voxels along (z, y, x).
      geometry: With `shape`: where they are.
      by: Group that has the grid.
      order: 0 takes the nearest voxel (at ties the later), 1 mixes in a straight line, 3
        is the cubic B-spline through the voxels, which goes on mirrored at the outer
        ones. Labels need 0.
      anti_alias: Whether larger voxels are weighted means of the smaller ones below them:
        a triangle, as wide as the new voxels, for order 1 and grids along the axes.
        Without it, what lies between the voxels of a coarser grid is not seen, and fine
        texture turns into patterns.
      fill: Value outside of the volume; the nearest voxel's if it is `None`.
    """

    spacing_mm: float | Sequence[float] | None = None
    shape: int | Sequence[int] | None = None
    geometry: Geometry | None = None
    by: str | None = None
    order: int = 1
    anti_alias: bool = False
    fill: float | None = 0.0

    def __post_init__(self) -> None:
        check_order(self.order)
        given = [self.spacing_mm, self.shape, self.by]
        if sum(value is not None for value in given) != 1:
            raise VolumeError(
                "`Resample` has one of `spacing_mm`, `shape` (alone or with `geometry`) "
                f"and `by`: got {self}."
            )
        if self.geometry is not None and self.shape is None:
            raise VolumeError("`Resample.geometry` needs a `shape`.")
        if self.spacing_mm is not None and not all(
            value > 0 for value in per_axis("spacing_mm", self.spacing_mm, float)
        ):
            raise VolumeError(f"A spacing is above 0 mm: got {self.spacing_mm}.")
        if self.shape is not None and min(per_axis("shape", self.shape)) < 1:
            raise VolumeError(f"A volume has a voxel at least: got shape={self.shape}.")
        if self.anti_alias and self.order != 1:
            raise VolumeError(
                f"`Resample(anti_alias=True)` is there for order 1: got {self.order}."
            )

    @property
    def reach(self) -> Reach:
        """A box; the whole if the grid of a group has to be seen first."""
        return Box() if self.by is None else Whole()

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """All."""
        return KINDS

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns it with the grid of the group."""
        del image
        if self.by is None:
            return self
        grid = other_image(others, self.by, asked_by="Resample")
        return dataclasses.replace(
            self, by=None, shape=grid.shape, geometry=grid.geometry
        )

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns the new grid."""
        self._check_fitted()
        if self.spacing_mm is not None:
            spacing = np.array(per_axis("spacing_mm", self.spacing_mm, float))
            step = spacing / geometry.spacing_mm
            size = np.maximum(np.floor(np.array(shape) / step + 0.5), 1)
        else:
            assert self.shape is not None
            size = np.array(per_axis("shape", self.shape))
            if self.geometry is not None:
                return as_shape(size), self.geometry
            step = np.array(shape) / size
        first = (np.array(shape) - 1) / 2 - step * (size - 1) / 2
        grid = Geometry(matrix=geometry.matrix * step, origin=geometry.to_world(first))
        return as_shape(size), grid

    def source_region(self, region: Region, shape: Shape, geometry: Geometry) -> Region:
        """Returns the voxels that are mixed."""
        matrix, offset = self._map(shape, geometry)
        if (axes := self._axes(matrix, offset, region, shape)) is not None:
            pairs = zip(axes, shape, strict=True)
            return _along_axes.region_of(
                [_along_axes.touched_along(a, n, self.order) for a, n in pairs]
            )
        self._check_axes()
        low, high = corners(matrix, offset, region)
        # Rounding of the corners must not lose a neighbour.
        return touched(low, high, shape, self.order, margin=1)

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the voxels of the new grid."""
        matrix, offset = self._map(part.shape, part.geometry)
        axes = self._axes(matrix, offset, region, part.shape)
        start = part.region.start
        if axes is not None:
            return _along_axes.resample_axes(
                part.array, axes, start=start, order=self.order, fill=self.fill
            )
        self._check_axes()
        return sample(
            part.array,
            snapped_coordinates(matrix, offset),
            region,
            start=start,
            shape=part.shape,
            order=self.order,
            fill=self.fill,
        )

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns the grid before."""
        return {"shape": shape, **geometry.to_dict()}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the way to the grid before; what is outside holds the nearest voxel."""
        return Resample(
            shape=undo["shape"],
            geometry=Geometry.from_dict(undo),
            order=self.order,
            fill=None,
        )

    def for_labels(self) -> VolumeTransform:
        """Returns it with order 0."""
        return dataclasses.replace(self, order=0, anti_alias=False)

    def _map(self, shape: Shape, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
        """Returns what leads from indices of the result to those of the input."""
        _, grid = self.out_shape(shape, geometry)
        matrix = np.linalg.solve(geometry.matrix, grid.matrix)
        return matrix, geometry.to_index(grid.origin)

    def _axes(
        self, matrix: np.ndarray, offset: np.ndarray, region: Region, shape: Shape
    ) -> list[_along_axes.Taps] | None:
        """Returns the taps of each axis, if the grids lie along each other."""
        off_axis = matrix - np.diag(np.diag(matrix))
        # Over 1000 voxels, less than what coordinates are rounded to.
        if np.abs(off_axis).max() * 1000 > 2.0**-24 * 1e2:
            return None
        return [
            _along_axes.taps(
                region.start[axis],
                region.stop[axis],
                step=matrix[axis, axis],
                first=offset[axis],
                size=shape[axis],
                order=self.order,
                wide=self.anti_alias,
            )
            for axis in range(3)
        ]

    def _check_axes(self) -> None:
        if self.anti_alias:
            raise VolumeError(
                "`Resample(anti_alias=True)` is there for grids along the axes of the "
                "volume, and this one is oblique to it. Resample to a coarser spacing "
                "first, then to the grid without `anti_alias`."
            )
