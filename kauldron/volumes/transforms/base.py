"""What a transform of volumes is: from part to part, with its way back as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np

from kauldron._base import arguments, errors
from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError

# What the numbers of an array are. Of an "image" the values are changed as well; a "map"
# (a dose, probabilities) only moves; a "label" moves without mixing neighbours; a
# "vector" has components along (z, y, x) in voxels, a "vector_mm" along (x, y, z) of the
# world in millimetres.
Kind = Literal["image", "map", "label", "vector", "vector_mm"]
KINDS: tuple[Kind, ...] = ("image", "map", "label", "vector", "vector_mm")

Undo = dict[str, Any]
Others = Mapping[str, Image]


@dataclasses.dataclass(frozen=True)
class Point:
    """A voxel depends on the voxel at its place alone."""


@dataclasses.dataclass(frozen=True)
class Halo:
    """A voxel depends on those up to so many voxels away, along (z, y, x)."""

    voxels: Shape


@dataclasses.dataclass(frozen=True)
class Box:
    """A region depends on the region that `source_region` says."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """Something of the whole volume is needed first: `fitted` gets it."""


Reach = Point | Halo | Box | Whole


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A region of a volume in memory, and what the volume is.

    Attributes:
      array: `[z y x c]`, the voxels of the region.
      region: Where they are in the volume.
      shape: Of the volume.
      geometry: Of the volume.
    """

    array: np.ndarray
    region: Region
    shape: Shape
    geometry: Geometry

    @classmethod
    def whole(cls, array: np.ndarray, geometry: Geometry) -> Self:
        """Returns a volume that is in memory as a whole."""
        image = Image(array, geometry)
        return cls(
            array=image.array,
            region=Region.whole(image.shape),
            shape=image.shape,
            geometry=geometry,
        )

    def cropped(self, region: Region) -> np.ndarray:
        """Returns the voxels of a region of the volume, which the part has."""
        start = self.region.start
        z, y, x = (
            slice(a - s, b - s)
            for a, b, s in zip(region.start, region.stop, start, strict=True)
        )
        return self.array[z, y, x]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeTransform(arguments.NamesArguments):
    """Leads from a volume to another one; any region of it can be computed alone.

    A new transform defines `compute`, and where they are not those of a point:
    `reach`, `out_shape` and `source_region`. With `backward` it has an inverse. What
    depends on the values of the volume, such as their mean, is found by `fitted`,
    which returns a transform that knows it.
    """

    @property
    def reach(self) -> Reach:
        """How far a voxel of the result sees."""
        return Point()

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns the transform that knows what it has to of this volume.

        Args:
          image: The volume, at this place of the chain.
          others: The other groups of the case, as they are in their files.
        """
        del image, others
        return self

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns shape and geometry of the result, exactly."""
        self._check_fitted()
        return shape, geometry

    def source_region(self, region: Region, shape: Shape, geometry: Geometry) -> Region:
        """Returns the region of the input that a region of the result needs.

        Args:
          region: Of the result.
          shape: Of the input.
          geometry: Of the input.
        """
        del geometry
        match self.reach:
            case Point():
                return region
            case Halo(voxels):
                return grown(region, voxels, shape)
            case Whole():
                return Region.whole(shape)
        raise NotImplementedError(f"`{type(self).__name__}.source_region` is missing.")

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns a region of the result from the part of the input that it needs."""
        raise NotImplementedError(f"`{type(self).__name__}.compute` is missing.")

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns what the inverse has to know, as plain data.

        Args:
          shape: Of the input.
          geometry: Of the input.
        """
        del shape, geometry
        return {}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the transform that leads back; what was fitted is in `undo`."""
        del undo
        advice = ""
        if not self.changes_places:
            advice = (
                " For what a model predicted, say `kind='map'` or `kind='label'`: their "
                "values stay as they are."
            )
        raise VolumeError(
            f"`{type(self).__name__}` has no inverse: what it removes is not kept.{advice}"
        )

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """Of which kinds of arrays `inverse` undoes it, of others it changes nothing.

        Of all if it moves voxels, else of images, whose values it changed.
        """
        return KINDS if isinstance(self.reach, Box) else ("image",)

    @property
    def changes_places(self) -> bool:
        """Whether it moves voxels or changes which there are, not their values alone."""
        return self.undone_for == KINDS

    @property
    def has_inverse(self) -> bool:
        """Whether `inverse` works."""
        return type(self).backward is not VolumeTransform.backward

    def forward(
        self, x: np.ndarray, geometry: Geometry, *, others: Others | None = None
    ) -> tuple[np.ndarray, Geometry, Undo]:
        """Returns the result, its geometry, and what `inverse` needs.

        Args:
          x: `[z y x c]`.
          geometry: Where the voxels are.
          others: The other groups of the case, for transforms that look `by` them.
        """
        part = Part.whole(x, geometry)
        ready = self.fitted(Image(part.array, geometry), others or {})
        shape, out_geometry = ready.out_shape(part.shape, geometry)
        result = ready.compute(part, Region.whole(shape))
        return result, out_geometry, ready.undo(part.shape, geometry)

    def inverse(
        self, x: np.ndarray, geometry: Geometry, undo: Undo, *, kind: Kind = "image"
    ) -> tuple[np.ndarray, Geometry]:
        """Returns the volume before the transform, as far as it can be had.

        Args:
          x: `[z y x c]`, on the grid of the result.
          geometry: Of the result.
          undo: What `forward` returned.
          kind: What `x` is. Changes of values are undone of an 'image'; labels and maps
            that a model predicted just go back to their places, and renumbered labels
            to their numbers.
        """
        back = self.way_back(undo, kind=kind)
        result, out_geometry, _ = back.forward(x, geometry)
        return result, out_geometry

    def way_back(self, undo: Undo, *, kind: Kind = "image") -> VolumeTransform:
        """Returns the inverse as a transform, so that it can be read by regions."""
        check_kind(kind)
        if kind not in self.undone_for:
            return Same()
        try:
            back = self.backward(undo)
        except KeyError as error:
            raise VolumeError(
                f"`undo` is what `forward` of this `{type(self).__name__}` returned: there "
                f"is no {error} in {undo!r:.80}."
            ) from error
        return back.for_labels() if kind == "label" else back

    def for_labels(self) -> VolumeTransform:
        """Returns the transform that mixes no neighbours."""
        return self

    def _check_fitted(self) -> None:
        if isinstance(self.reach, Whole):
            raise VolumeError(
                f"`{type(self).__name__}` has to see the volume first: call "
                "`transform.fitted(image, others)`, or give it the values."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Same(VolumeTransform):
    """Changes nothing."""

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the part."""
        return part.cropped(region)

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns itself."""
        del undo
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointTransform(VolumeTransform):
    """Changes values, each by itself."""

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns new values, `[z y x c]`."""
        raise NotImplementedError(f"`{type(self).__name__}.values` is missing.")

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns new values of a region."""
        return self.values(part.cropped(region))


def grown(region: Region, voxels: Sequence[int], shape: Shape) -> Region:
    """Returns the region with so many voxels around it, inside of the volume."""
    starts = zip(region.start, voxels, strict=True)
    stops = zip(region.stop, voxels, shape, strict=True)
    return Region(
        as_shape([max(a - n, 0) for a, n in starts]),
        as_shape([min(b + n, size) for b, n, size in stops]),
    )


def check_kind(kind: str) -> None:
    """Raises an error unless there are arrays of such a kind."""
    if kind not in KINDS:
        raise VolumeError(
            f"`kind` is one of {list(KINDS)}: got {kind!r}."
            f"{errors.did_you_mean(str(kind), KINDS)}"
        )


def check_region(region: Region, shape: Shape) -> None:
    """Raises an error unless a region lies in a volume and has a voxel."""
    axes = zip(region.start, region.stop, shape, strict=True)
    if not all(0 <= a < b <= n for a, b, n in axes):
        raise VolumeError(
            f"A region of a volume of {shape} voxels begins at 0 or behind it, has a "
            f"voxel, and ends in the volume: got {region.start} to {region.stop}."
        )


def as_shape(values: Sequence[Any] | np.ndarray) -> Shape:
    """Returns three integers."""
    z, y, x = (int(value) for value in values)
    return z, y, x


def per_axis(name: str, value: Any, kind: Callable[[Any], Any] = int) -> tuple:
    """Returns one value for each of (z, y, x).

    Raises:
      VolumeError: If it is neither one value nor three.
    """
    if isinstance(value, Sequence):
        if len(value) != 3:
            raise VolumeError(
                f"`{name}` is one number or three along (z, y, x): got {value!r}."
            )
        return tuple(kind(v) for v in value)
    return (kind(value),) * 3


def other_image(others: Others, name: str, *, asked_by: str) -> Image:
    """Returns another group of the case.

    Raises:
      VolumeError: If the case has no such group.
    """
    if name in others:
        return others[name]
    raise VolumeError(
        f"`{asked_by}(by={name!r})` looks at another group of the case, which is not "
        f"there: the case has {sorted(others) or 'no other group'}."
    )
