"""Transforms that choose voxels and mix none: flips, permutations, crops, padding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Box,
    Part,
    Undo,
    VolumeTransform,
    as_shape,
    per_axis,
)

Axes = int | Sequence[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxTransform(VolumeTransform):
    """Each voxel of the result is one of the input, or a fill value."""

    @property
    def reach(self) -> Box:
        """A box comes from a box."""
        return Box()

    def indices(self, axis: int, start: int, stop: int, shape: Shape) -> np.ndarray:
        """Returns which voxels of the input those of the result are, along an axis.

        Args:
          axis: Of the result.
          start: First voxel of the result.
          stop: Behind the last one.
          shape: Of the input.

        Returns:
          `i[n]`; -1: none of them.
        """
        raise NotImplementedError(f"`{type(self).__name__}.indices` is missing.")

    def axis_order(self, geometry: Geometry) -> Shape:
        """Returns which axis of the input each axis of the result is."""
        del geometry
        return (0, 1, 2)

    def fill_value(self) -> float:
        """Returns what voxels are that come from nowhere."""
        return 0.0

    def source_region(self, region: Region, shape: Shape, geometry: Geometry) -> Region:
        """Returns the box around the voxels that are chosen."""
        bounds: dict[int, tuple[int, int]] = {}
        order = self.axis_order(geometry)
        for axis, index in enumerate(self._all_indices(region, shape)):
            known = index[index >= 0]
            # A region of nothing but fill reads one voxel, for its type.
            bounds[order[axis]] = (
                (int(known.min()), int(known.max()) + 1) if len(known) else (0, 1)
            )
        return Region(
            as_shape([bounds[axis][0] for axis in range(3)]),
            as_shape([bounds[axis][1] for axis in range(3)]),
        )

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the chosen voxels."""
        order = self.axis_order(part.geometry)
        x = np.transpose(part.array, (*order, 3))
        outside = []
        for axis, index in enumerate(self._all_indices(region, part.shape)):
            local = np.clip(index - part.region.start[order[axis]], 0, None)
            x = _taken(x, local, axis)
            outside.append(index < 0)
        if not any(gone.any() for gone in outside):
            return x
        x = np.array(x)
        for axis, gone in enumerate(outside):
            x[(slice(None),) * axis + (gone,)] = self.fill_value()
        return x

    def _all_indices(self, region: Region, shape: Shape) -> list[np.ndarray]:
        bounds = zip(region.start, region.stop, strict=True)
        return [
            np.asarray(self.indices(axis, a, b, shape))
            for axis, (a, b) in enumerate(bounds)
        ]


def _taken(x: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
    """Takes voxels along an axis; of neighbours in a row no copy is made."""
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step not in (1, -1) or (np.diff(index) != step).any():
        return np.take(x, index, axis)
    stop = int(index[-1]) + step
    row = slice(int(index[0]), stop if stop >= 0 else None, step)
    return x[(slice(None),) * axis + (row,)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip(BoxTransform):
    """Turns the order of voxels around; what is seen stays where it is in the world.

    Attributes:
      axes: 0, 1, 2 for z, y, x.
    """

    axes: Axes = 2

    def __post_init__(self) -> None:
        check_axes("Flip", self._axes)

    @property
    def _axes(self) -> tuple[int, ...]:
        return (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns the same shape; the geometry begins at the other end."""
        return shape, turned(geometry, (0, 1, 2), self._axes, shape)

    def indices(self, axis: int, start: int, stop: int, shape: Shape) -> np.ndarray:
        """Returns them from the end of a flipped axis."""
        index = np.arange(start, stop)
        return shape[axis] - 1 - index if axis in self._axes else index

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns itself."""
        del undo
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permute(BoxTransform):
    """Changes the order of the axes; what is seen stays where it is in the world.

    Attributes:
      order: Which axis of the input each axis of the result is: `(2, 1, 0)` swaps z
        and x.
    """

    order: Shape = (0, 1, 2)

    def __post_init__(self) -> None:
        if sorted(self.order) != [0, 1, 2]:
            raise VolumeError(
                f"`Permute.order` names each of the axes 0, 1, 2 once: got {self.order}."
            )

    def axis_order(self, geometry: Geometry) -> Shape:
        """Returns the order."""
        del geometry
        return as_shape(self.order)

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns both in the order."""
        permuted = as_shape([shape[axis] for axis in self.order])
        return permuted, turned(geometry, as_shape(self.order), (), permuted)

    def indices(self, axis: int, start: int, stop: int, shape: Shape) -> np.ndarray:
        """Returns them as they are."""
        del axis, shape
        return np.arange(start, stop)

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the permutation that brings the axes back."""
        del undo
        return Permute(order=as_shape(np.argsort(self.order)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pad(BoxTransform):
    """Puts voxels around the volume.

    Attributes:
      before: Number of voxels before the first, for one or each of (z, y, x).
      after: Number of voxels behind the last.
      min_shape: Instead of both: up to this shape at least, with as many on each side
        (the odd one behind). An axis that is as long stays as it is.
      multiple_of: Then, behind the last voxel, up to a multiple of this.
      mode: 'constant', 'edge' (the nearest voxel) or 'reflect' (mirrored at the outer
        voxel, which is not repeated).
      value: Of 'constant'.
    """

    before: int | Sequence[int] = 0
    after: int | Sequence[int] = 0
    min_shape: int | Sequence[int] = 0
    multiple_of: int | Sequence[int] = 1
    mode: Literal["constant", "edge", "reflect"] = "constant"
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in ("constant", "edge", "reflect"):
            raise VolumeError(
                f"`Pad.mode` is 'constant', 'edge' or 'reflect': got {self.mode!r}."
            )
        counts = per_axis("before", self.before) + per_axis("after", self.after)
        if min(counts) < 0:
            raise VolumeError(
                f"`Pad` adds voxels: got before={self.before}, after={self.after}. "
                "`Crop` takes some away."
            )
        if min(per_axis("multiple_of", self.multiple_of)) < 1:
            raise VolumeError(f"`Pad.multiple_of` is >= 1: got {self.multiple_of}.")
        if any(counts) and any(per_axis("min_shape", self.min_shape)):
            raise VolumeError(
                "`Pad` has either `before` and `after`, or `min_shape`: got both."
            )

    def amounts(self, shape: Shape) -> tuple[Shape, Shape]:
        """Returns how many voxels are put before and behind each axis."""
        before = per_axis("before", self.before)
        after = per_axis("after", self.after)
        smallest = per_axis("min_shape", self.min_shape)
        multiples = per_axis("multiple_of", self.multiple_of)
        lows, highs = [], []
        for axis, size in enumerate(shape):
            missing = max(smallest[axis] - size, 0)
            low = before[axis] + missing // 2
            high = after[axis] + missing - missing // 2
            total = low + size + high
            highs.append(
                high + math.ceil(total / multiples[axis]) * multiples[axis] - total
            )
            lows.append(low)
        return as_shape(lows), as_shape(highs)

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns the larger shape; the geometry begins before the volume."""
        before, after = self.amounts(shape)
        larger = as_shape(np.array(before) + shape + after)
        return larger, geometry.moved(-np.array(before))

    def indices(self, axis: int, start: int, stop: int, shape: Shape) -> np.ndarray:
        """Returns them by the mode."""
        before, _ = self.amounts(shape)
        index = np.arange(start, stop) - before[axis]
        size = shape[axis]
        if self.mode == "constant":
            return np.where((index >= 0) & (index < size), index, -1)
        if self.mode == "edge" or size == 1:
            return np.clip(index, 0, size - 1)
        period = 2 * (size - 1)
        folded = np.mod(index, period)
        return np.minimum(folded, period - folded)

    def fill_value(self) -> float:
        """Returns `value`."""
        return self.value

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns the shape before."""
        del geometry
        return {"shape": shape}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the crop to what was there."""
        shape = as_shape(undo["shape"])
        return Crop(start=self.amounts(shape)[0], size=shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crop(BoxTransform):
    """Keeps a box.

    Attributes:
      size: Number of voxels along (z, y, x).
      start: First voxel; the middle of the volume unless given.
      fill: What the inverse puts where nothing is known.
    """

    size: int | Sequence[int]
    start: Sequence[int] | None = None
    fill: float = 0.0

    def __post_init__(self) -> None:
        if min(per_axis("size", self.size)) < 1:
            raise VolumeError(f"`Crop.size` is >= 1 voxel: got {self.size}.")

    def region(self, shape: Shape) -> Region:
        """Returns the box in a volume.

        Raises:
          VolumeError: If it does not lie inside.
        """
        size = np.array(per_axis("size", self.size))
        start = (np.array(shape) - size) // 2
        if self.start is not None:
            start = np.array(per_axis("start", self.start))
        if (start < 0).any() or (start + size > shape).any():
            raise VolumeError(
                f"`Crop` takes a box of {as_shape(size)} voxels at {as_shape(start)} "
                f"from a volume of {shape}: it does not lie inside. `Pad(min_shape=…)` "
                "before it makes small volumes large enough."
            )
        return Region(as_shape(start), as_shape(start + size))

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns those of the box."""
        region = self.region(shape)
        return region.shape, geometry.moved(region.start)

    def indices(self, axis: int, start: int, stop: int, shape: Shape) -> np.ndarray:
        """Returns them from where the box begins."""
        return np.arange(start, stop) + self.region(shape).start[axis]

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns how many voxels are taken away before and behind."""
        del geometry
        region = self.region(shape)
        return {
            "before": region.start,
            "after": as_shape(np.array(shape) - region.stop),
        }

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the padding with `fill`."""
        return Pad(**undo, value=self.fill)


def check_axes(name: str, axes: Sequence[int]) -> None:
    """Raises an error unless axes are of 0, 1, 2, each once."""
    if len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
        raise VolumeError(
            f"`{name}.axes` are of 0, 1, 2 for z, y, x, each once: got {tuple(axes)}."
        )


def turned(
    geometry: Geometry, order: Shape, flips: Sequence[int], shape: Shape
) -> Geometry:
    """Returns the geometry of permuted, then flipped axes.

    Args:
      geometry: Of the input.
      order: Which axis of the input each axis of the result is.
      flips: Axes of the result that run the other way.
      shape: Of the result.
    """
    matrix = geometry.matrix[:, order].copy()
    first = np.zeros(3)
    for axis in flips:
        first[axis] = shape[axis] - 1
    origin = geometry.origin + matrix @ first
    matrix[:, list(flips)] *= -1
    return Geometry(matrix=matrix, origin=origin)
