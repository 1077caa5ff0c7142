"""Resampling of one axis after the other, for grids that lie along each other."""

from __future__ import annotations

import dataclasses

import numpy as np

from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.transforms.base import as_shape
from kauldron.volumes.transforms.sampling import (
    SPLINE_MARGIN,
    bspline,
    cast_back,
    rim,
    snapped,
    spline_coefficients,
    working_dtype,
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Taps:
    """Which voxels of an axis are mixed, and how much of each.

    Attributes:
      index: `i[n taps]`, voxels of the source axis.
      weight: `f64[n taps]`.
      is_outside: `bool[n]`, where the coordinate is beyond the voxels' faces.
    """

    index: np.ndarray
    weight: np.ndarray
    is_outside: np.ndarray


def taps(
    start: int,
    stop: int,
    *,
    step: float,
    first: float,
    size: int,
    order: int,
    wide: bool,
) -> Taps:
    """Returns the taps of a row of an axis.

    Args:
      start: First voxel of the result.
      stop: Behind the last one.
      step: Voxels of the source per voxel of the result, with sign.
      first: Coordinate of voxel 0 of the result.
      size: Number of voxels of the source axis.
      order: 0, 1 or 3.
      wide: Whether a linear kernel is as wide as a voxel of the result, where that is
        larger than one of the source.
    """
    place = snapped(np.arange(start, stop) * step + first)
    is_outside = (place < -0.5) | (place >= size - 0.5)
    scale = abs(step)
    if wide and order == 1 and scale > 1:
        return _triangle(place, scale, size, is_outside)
    if order == 3:
        edge = rim(order)
        index, weight = _cubic(np.clip(place, -edge, size - 1 + edge))
        # The spline goes on mirrored at the outer voxels.
        period = max(2 * (size - 1), 1)
        index = np.mod(index, period)
        index = np.minimum(index, period - index) if size > 1 else index * 0
        return Taps(index=index, weight=weight, is_outside=is_outside)
    place = np.clip(place, 0, size - 1)
    if order == 0:
        index = np.floor(place + 0.5).astype(np.intp)[:, None]
        weight = np.ones(index.shape)
        return Taps(index=index, weight=weight, is_outside=is_outside)
    floor = np.minimum(np.floor(place), max(size - 2, 0))
    fraction = place - floor
    low = floor.astype(np.intp)
    index = np.stack([low, np.minimum(low + 1, size - 1)], axis=1)
    weight = np.stack([1 - fraction, fraction], axis=1)
    return Taps(index=index, weight=weight, is_outside=is_outside)


def _triangle(
    place: np.ndarray, scale: float, size: int, is_outside: np.ndarray
) -> Taps:
    """Weighs the voxels below a triangle; those outside don't count."""
    num = 2 * int(np.ceil(scale)) + 1
    low = np.ceil(place - scale).astype(np.intp)
    index = low[:, None] + np.arange(num)
    weight = np.maximum(1 - np.abs(index - place[:, None]) / scale, 0)
    weight[(index < 0) | (index >= size)] = 0
    total = weight.sum(axis=1, keepdims=True)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    index = np.clip(index, 0, size - 1)
    return Taps(index=index, weight=weight, is_outside=is_outside)


def _cubic(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the four voxels of a cubic B-spline, and its values there."""
    floor = np.floor(place)
    f = place - floor
    index = floor.astype(np.intp)[:, None] + np.arange(-1, 3)
    weight = np.stack(bspline(f), axis=1)
    return index, weight


def touched_along(axis: Taps, size: int, order: int) -> tuple[int, int]:
    """Returns the first voxel that is read, and the one behind the last."""
    margin = SPLINE_MARGIN if order == 3 else 0
    low, high = int(axis.index.min()), int(axis.index.max())
    return max(low - margin, 0), min(high + 1 + margin, size)


def resample_axes(
    x: np.ndarray,
    axes: list[Taps],
    *,
    start: Shape,
    order: int,
    fill: float | None,
) -> np.ndarray:
    """Returns what is mixed along z, then y, then x.

    Args:
      x: `[z y x c]`, the part of the source that is touched.
      axes: Taps along z, y, x.
      start: Where `x` begins in the source.
      order: 0, 1 or 3.
      fill: Value outside; `None`: the nearest voxel's.
    """
    dtype = x.dtype
    if order:
        x = x.astype(working_dtype(dtype), copy=False)
    if order == 3:
        x = spline_coefficients(x)
    for axis, tap in enumerate(axes):
        x = _mixed(x, tap, axis, start[axis])
    if order:
        x = cast_back(x, dtype)
    if fill is not None:
        for axis, tap in enumerate(axes):
            if tap.is_outside.any():
                x[(slice(None),) * axis + (tap.is_outside,)] = fill
    return x


def _mixed(x: np.ndarray, tap: Taps, axis: int, start: int) -> np.ndarray:
    index = np.clip(tap.index - start, 0, x.shape[axis] - 1)
    if tap.index.shape[1] == 1:
        return np.take(x, index[:, 0], axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    total = None
    for k in range(index.shape[1]):
        term = np.take(x, index[:, k], axis)
        term *= tap.weight[:, k].astype(x.dtype).reshape(shape)
        if total is None:
            total = term
        else:
            total += term
    assert total is not None
    return total


def region_of(bounds: list[tuple[int, int]]) -> Region:
    """Returns the region with these bounds along z, y, x."""
    return Region(as_shape([a for a, _ in bounds]), as_shape([b for _, b in bounds]))
