"""Transforms one after the other, and reading a region through them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Box,
    Kind,
    Others,
    Part,
    Point,
    Reach,
    Undo,
    VolumeTransform,
    Whole,
    check_kind,
    check_region,
)
from kauldron.volumes.transforms.cache import CacheToDisk, Stored, stored

Read = Callable[[Region], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Chain(VolumeTransform):
    """Applies transforms from the first to the last; its inverse goes back.

    Attributes:
      transforms: In their order.
    """

    transforms: Sequence[VolumeTransform] = ()

    @property
    def reach(self) -> Reach:
        """The whole if one of them needs it, a point if all do, else a box."""
        reaches = [transform.reach for transform in self.transforms]
        if any(isinstance(reach, Whole) for reach in reaches):
            return Whole()
        if all(isinstance(reach, Point) for reach in reaches):
            return Point()
        return Box()

    @property
    def changes_places(self) -> bool:
        """Whether one of them moves voxels."""
        return any(transform.changes_places for transform in self.transforms)

    @property
    def has_inverse(self) -> bool:
        """Whether all of them have one."""
        return all(transform.has_inverse for transform in self.transforms)

    def fitted(self, image: Image, others: Others) -> Chain:
        """Returns the chain that knows the volume: each sees what comes to it.

        What is behind the last transform that looks at the volume is not run.
        """
        whole = [isinstance(transform.reach, Whole) for transform in self.transforms]
        num_seen = len(whole) - whole[::-1].index(True) if any(whole) else 0
        ready: list[VolumeTransform] = []
        for i, transform in enumerate(self.transforms):
            ready.append(transform.fitted(image, others))
            if i + 1 < num_seen:
                image = _run(ready[-1], image)
        return Chain(ready)

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns those behind the last transform."""
        return self._grids(shape, geometry)[-1]

    def source_region(self, region: Region, shape: Shape, geometry: Geometry) -> Region:
        """Returns the region that the first transform reads."""
        return self._regions(region, self._grids(shape, geometry))[0]

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns a region behind the last transform."""
        grids = self._grids(part.shape, part.geometry)
        regions = self._regions(region, grids)
        for i, transform in enumerate(self.transforms):
            array = transform.compute(part, regions[i + 1])
            shape, geometry = grids[i + 1]
            part = Part(
                array=array, region=regions[i + 1], shape=shape, geometry=geometry
            )
        return part.cropped(region)

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns those of all transforms: `{"steps": [...]}`."""
        grids = self._grids(shape, geometry)
        pairs = zip(self.transforms, grids, strict=False)
        return {"steps": [transform.undo(*grid) for transform, grid in pairs]}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the inverses, the last one first."""
        return self.way_back(undo)

    def way_back(self, undo: Undo, *, kind: Kind = "image") -> VolumeTransform:
        """Returns the inverses for what `x` is, the last one first."""
        check_kind(kind)
        steps = undo.get("steps") if isinstance(undo, Mapping) else None
        if steps is None or len(steps) != len(self.transforms):
            seen = f"{undo!r:.80}" if steps is None else f"one with {len(steps)} steps"
            raise VolumeError(
                f"`undo` is what `forward` of this chain of {len(self.transforms)} "
                f"transforms returned: got {seen}."
            )
        pairs = zip(self.transforms, steps, strict=True)
        return Chain([t.way_back(step, kind=kind) for t, step in pairs][::-1])

    def for_labels(self) -> VolumeTransform:
        """Returns the chain that mixes no neighbours."""
        return Chain([transform.for_labels() for transform in self.transforms])

    def _grids(self, shape: Shape, geometry: Geometry) -> list[tuple[Shape, Geometry]]:
        """Returns shape and geometry before each transform, and behind the last."""
        grids = [(shape, geometry)]
        for transform in self.transforms:
            grids.append(transform.out_shape(*grids[-1]))
        return grids

    def _regions(
        self, region: Region, grids: list[tuple[Shape, Geometry]]
    ) -> list[Region]:
        """Returns the regions that are needed at each place, back to front."""
        regions = [region]
        for transform, grid in zip(self.transforms[::-1], grids[-2::-1], strict=True):
            regions.append(transform.source_region(regions[-1], *grid))
        return regions[::-1]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A volume behind a transform, of which regions are computed when they are read.

    Attributes:
      source: Returns the voxels of a region of the input.
      source_shape: Of the input.
      source_geometry: Of the input.
      transform: Fitted to the input.
      steps_before: Undo of what came before the input, if that was a cache.
    """

    source: Read
    source_shape: Shape
    source_geometry: Geometry
    transform: VolumeTransform
    steps_before: tuple[Undo, ...] = ()

    @property
    def shape(self) -> Shape:
        """Number of voxels behind the transform."""
        return self._grid[0]

    @property
    def geometry(self) -> Geometry:
        """Where they are."""
        return self._grid[1]

    @property
    def undo(self) -> Undo:
        """What `inverse` of the transform that was opened needs."""
        undo = self.transform.undo(self.source_shape, self.source_geometry)
        if not self.steps_before:
            return undo
        return {"steps": [*self.steps_before, *undo["steps"]]}

    def read(self, region: Region | None = None) -> np.ndarray:
        """Returns a region, all of it unless given, of which the source is read."""
        region = region or Region.whole(self.shape)
        check_region(region, self.shape)
        shape, geometry = self.source_shape, self.source_geometry
        needed = self.transform.source_region(region, shape, geometry)
        array = Image(self.source(needed), geometry).array
        part = Part(array=array, region=needed, shape=shape, geometry=geometry)
        return self.transform.compute(part, region)

    @functools.cached_property
    def _grid(self) -> tuple[Shape, Geometry]:
        return self.transform.out_shape(self.source_shape, self.source_geometry)


def opened(
    read: Read,
    transform: VolumeTransform,
    *,
    shape: Shape,
    geometry: Geometry,
    others: Others | None = None,
    key: str | None = None,
) -> Opened:
    """Returns the volume behind a transform, to be read by regions.

    If the transform has to see the volume (its mean, its foreground), all of it is read
    once, here. What is before a `CacheToDisk` is computed at most once.

    Args:
      read: Returns the voxels of a region, `[z y x]` or `[z y x c]`.
      transform: Often a `Chain`.
      shape: Of what is read.
      geometry: Of what is read.
      others: The other groups of the case, for transforms that look `by` them.
      key: For `CacheToDisk`: name of the case and group, and what else the volume hangs
        on, such as the time and size of its file, and those of `others`.
    """
    others = others or {}
    if key is not None and isinstance(transform, Chain):
        caches = [isinstance(t, CacheToDisk) for t in transform.transforms]
        if any(caches):
            last = len(caches) - 1 - caches[::-1].index(True)
            grid = (shape, geometry)
            return _behind_cache(read, transform, last, grid, others, key)
    # A volume of no memory stands for one that nobody looks at.
    seen = np.broadcast_to(np.zeros((), np.uint8), (*shape, 1))
    if isinstance(transform.reach, Whole):
        seen = read(Region.whole(shape))
    ready = transform.fitted(Image(seen, geometry), others)
    return Opened(
        source=read, source_shape=shape, source_geometry=geometry, transform=ready
    )


def read_region(
    read: Read,
    transform: VolumeTransform,
    region: Region,
    *,
    shape: Shape,
    geometry: Geometry,
    others: Others | None = None,
) -> np.ndarray:
    """Returns one region behind a transform; see `opened`, which is for many."""
    volume = opened(read, transform, shape=shape, geometry=geometry, others=others)
    return volume.read(region)


def _behind_cache(
    read: Read,
    chain: Chain,
    place: int,
    grid: tuple[Shape, Geometry],
    others: Others,
    key: str,
) -> Opened:
    """Returns the volume behind a chain with a cache at a place."""
    shape, geometry = grid
    cache = chain.transforms[place]
    assert isinstance(cache, CacheToDisk)
    first, rest = Chain(chain.transforms[:place]), Chain(chain.transforms[place + 1 :])

    def compute() -> Stored:
        volume = opened(
            read, first, shape=shape, geometry=geometry, others=others, key=key
        )
        return Stored(image=Image(volume.read(), volume.geometry), undo=volume.undo)

    found = stored(
        cache, compute, key=key, transform=first, shape=shape, geometry=geometry
    )
    image = found.image
    behind = opened(
        lambda region: np.array(image.array[region.slices]),
        rest,
        shape=image.shape,
        geometry=image.geometry,
        others=others,
    )
    return dataclasses.replace(behind, steps_before=(*found.undo["steps"], {}))


def _run(transform: VolumeTransform, image: Image) -> Image:
    """Returns the volume behind a fitted transform."""
    part = Part.whole(image.array, image.geometry)
    shape, geometry = transform.out_shape(part.shape, part.geometry)
    return Image(transform.compute(part, Region.whole(shape)), geometry)
