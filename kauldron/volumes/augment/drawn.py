"""One draw of an augmentation: the same for every patch and group of a case."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kauldron.volumes.augment.moves import Grid, PlaceMap
from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Box,
    Kind,
    Part,
    Reach,
    VolumeTransform,
    check_kind,
    check_region,
)
from kauldron.volumes.transforms.boxes import BoxTransform
from kauldron.volumes.transforms.chain import Chain
from kauldron.volumes.transforms.sampling import sample, touched


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turned(BoxTransform):
    """Voxels that come from voxels: flips, permutations and shifts by whole voxels."""

    order: Shape
    sign: Shape
    offset: Shape
    fill: float | None

    def axis_order(self, geometry: Geometry) -> Shape:
        """Returns which axis of the source each axis is."""
        del geometry
        return self.order

    def fill_value(self) -> float:
        """Returns the value outside."""
        return self.fill or 0.0

    def indices(self, axis: int, start: int, stop: int, shape: Shape) -> np.ndarray:
        """Returns them along the axis of the source."""
        index = self.sign[axis] * np.arange(start, stop) + self.offset[axis]
        size = shape[self.order[axis]]
        if self.fill is None:
            return np.clip(index, 0, size - 1)
        return np.where((index >= 0) & (index < size), index, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved(VolumeTransform):
    """Reads the volume at the places of a map, on its own grid."""

    places: PlaceMap
    order: int
    fill: float | None

    @property
    def reach(self) -> Reach:
        """A box comes from a box."""
        return Box()

    def source_region(self, region: Region, shape: Shape, geometry: Geometry) -> Region:
        """Returns the voxels that are mixed."""
        del geometry
        low, high = self.places.bounds(region)
        return touched(low, high, shape, self.order, margin=1 if self.order == 0 else 0)

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the voxels at their new places."""
        low, high = self.places.bounds(region)
        last = np.array(part.shape) - 1
        return sample(
            part.array,
            self.places.coordinates(region),
            region,
            start=part.region.start,
            shape=part.shape,
            order=self.order,
            fill=self.fill,
            inside=((low >= 0) & (high <= last)).tolist(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorsTurned(VolumeTransform):
    """Turns vectors as the volume is turned: by the inverse of the map's derivative."""

    places: PlaceMap
    in_mm: bool

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the turned vectors."""
        x = part.cropped(region)
        to_voxels = np.eye(3)
        if self.in_mm:
            to_voxels = np.linalg.inv(part.geometry.matrix)
        jacobian = self.places.jacobian(region)
        turn = np.linalg.inv(to_voxels) @ np.linalg.inv(jacobian) @ to_voxels
        turned = turn.astype(np.float32) @ x.astype(np.float32)[..., None]
        return turned[..., 0]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """What happens to one copy of one case.

    Attributes:
      grid: The volume: all groups of the case have its shape and geometry.
      places: Where voxels come from.
      filters: Changes of values, in their order.
      order: Of interpolation of everything but labels.
      fill: Value outside of images and maps; the nearest voxel's if it is `None`.
        Labels and vectors are 0 there.
    """

    grid: Grid
    places: PlaceMap
    filters: tuple[VolumeTransform, ...]
    order: int = 1
    fill: float | None = 0.0

    def transform(self, kind: Kind = "image") -> VolumeTransform:
        """Returns all of it as a transform, of which regions can be computed."""
        check_kind(kind)
        chain: list[VolumeTransform] = [self._move(self.places, kind)]
        if kind in ("vector", "vector_mm"):
            in_mm = kind == "vector_mm"
            chain.append(VectorsTurned(places=self.places, in_mm=in_mm))
        if kind == "image":
            chain.extend(self.filters)
        return Chain(chain)

    def source_region(
        self, region: Region | None = None, *, kind: Kind = "image"
    ) -> Region:
        """Returns the region of the source that `apply` needs for a region."""
        region = region or Region.whole(self.grid.shape)
        return self.transform(kind).source_region(
            region, self.grid.shape, self.grid.geometry
        )

    def apply(
        self,
        x: np.ndarray,
        geometry: Geometry,
        *,
        region: Region | None = None,
        kind: Kind = "image",
        source: Region | None = None,
    ) -> np.ndarray:
        """Returns a region of the augmented volume; nothing else of it is computed.

        Args:
          x: `[z y x c]`, the volume, or the part of it that `source` says.
          geometry: Of the volume.
          region: What is returned; all of it unless given.
          kind: What the numbers are. Values of an 'image' change; a 'map', a 'label', a
            'vector' just move.
          source: Where `x` is in the volume: what `source_region` returned, or more.

        Raises:
          VolumeError: If the volume is not on the grid that was drawn for.
        """
        array = Image(x, geometry).array
        source = source or Region.whole(self.grid.shape)
        self._check(array, geometry, source, kind)
        part = Part(
            array=array, region=source, shape=self.grid.shape, geometry=geometry
        )
        region = region or Region.whole(part.shape)
        check_region(region, part.shape)
        return self.transform(kind).compute(part, region)

    def points(self, points: Any) -> np.ndarray:
        """Returns where landmarks are afterwards, `f64[n 3]`, (x, y, z) in mm."""
        geometry = self.grid.geometry
        index = geometry.to_index(np.asarray(points, np.float64).reshape(-1, 3))
        return geometry.to_world(self.places.from_source(index))

    @property
    def has_inverse(self) -> bool:
        """Whether the way back is a map of the same kind: there is no deformation."""
        return self.places.spline is None

    def inverse(
        self, x: np.ndarray, geometry: Geometry, *, kind: Kind = "image"
    ) -> np.ndarray:
        """Returns an augmented volume in its old place: `inverted().apply(…)`."""
        return self.inverted().apply(x, geometry, kind=kind)

    def inverted(self) -> Drawn:
        """Returns what brings augmented volumes back; values are left as they are.

        What a model predicts of the augmented volume comes back to the voxels of the
        volume. What had left it is filled with the nearest voxel.

        Raises:
          VolumeError: If the volume was deformed.
        """
        if not self.has_inverse:
            raise VolumeError(
                "An elastic deformation has no inverse here: leave `Elastic` out of the "
                "augmentations that are undone."
            )
        places = PlaceMap(affine=self.places.affine.inverted())
        return dataclasses.replace(self, places=places, filters=(), fill=None)

    def _move(self, places: PlaceMap, kind: Kind) -> VolumeTransform:
        fill = self.fill if kind in ("image", "map") or self.fill is None else 0.0
        turn = places.affine.as_turn() if places.spline is None else None
        if turn is not None:
            order, sign, offset = turn
            return Turned(order=order, sign=sign, offset=offset, fill=fill)
        return Moved(
            places=places, order=0 if kind == "label" else self.order, fill=fill
        )

    def _check(
        self, array: np.ndarray, geometry: Geometry, source: Region, kind: Kind
    ) -> None:
        is_here = source.shape == array.shape[:3] and all(
            b <= n for b, n in zip(source.stop, self.grid.shape, strict=True)
        )
        if not is_here:
            raise VolumeError(
                f"The augmentation was drawn for a volume of {self.grid.shape} voxels: "
                f"got {array.shape[:3]} at {source.start}. Groups of a case share one "
                "grid: `Resample(by=…)` brings them there; of a part, say the `source`."
            )
        if not geometry.is_close(self.grid.geometry):
            raise VolumeError(
                "The augmentation was drawn for another geometry: groups of a case share "
                "one grid. `Resample(by=…)` brings them there."
            )
        if kind in ("vector", "vector_mm") and array.shape[3] != 3:
            raise VolumeError(
                f"Vectors have 3 components: got an array of shape {array.shape}."
            )
