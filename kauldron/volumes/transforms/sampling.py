"""Values between voxels: which ones are mixed, and what lies outside."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import as_shape

# Cubic splines are prefiltered over all of a line; what lies further away than this
# counts less than 1e-9.
SPLINE_MARGIN = 16
ORDERS = (0, 1, 3)

# Returns `(z, y, x)`, arrays that broadcast, where the voxels of an output region come
# from, in voxels of the source.
Coordinates = Callable[[Region], tuple[np.ndarray, np.ndarray, np.ndarray]]


def check_order(order: int) -> None:
    """Raises an error unless the order is 0 (nearest), 1 (linear) or 3 (cubic)."""
    if order not in ORDERS:
        raise VolumeError(
            f"The order of interpolation is 0 (nearest), 1 (linear) or 3 (cubic "
            f"B-spline): got {order!r}."
        )


def snapped(coordinates: np.ndarray) -> np.ndarray:
    """Returns coordinates to 2**-24 voxels, so that ties don't hang on rounding."""
    return np.round(coordinates * 2.0**24) / 2.0**24


def working_dtype(dtype: np.dtype) -> np.dtype:
    """Returns the float type that voxels are mixed in."""
    wide = dtype.kind in "iu" and dtype.itemsize > 2
    if wide or dtype == np.float64:
        return np.dtype(np.float64)
    return np.dtype(np.float32)


def cast_back(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Returns mixed values in the type of the volume; integers are rounded."""
    if dtype == np.bool_:
        return values >= 0.5
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype, copy=False)


def touched(
    low: np.ndarray, high: np.ndarray, shape: Shape, order: int, *, margin: int = 0
) -> Region:
    """Returns the region that is read for coordinates between two corners.

    At least one voxel, since what is outside holds the nearest.
    """
    margin += SPLINE_MARGIN if order == 3 else 0
    last = np.array(shape) - 1
    start = np.clip(np.floor(low) - margin, 0, last)
    stop = np.clip(np.floor(high) + 1 + margin, 0, last) + 1
    return Region(as_shape(start), as_shape(stop))


def sample(
    x: np.ndarray,
    coordinates: Coordinates,
    region: Region,
    *,
    start: Shape,
    shape: Shape,
    order: int,
    fill: float | None,
    is_inside: bool = False,
) -> np.ndarray:
    """Returns the values of a region at coordinates.

    A coordinate is moved to the nearest in `[0, n - 1]` (of order 3: to the nearest
    between the faces); values are `fill` where it was outside of `[-0.5, n - 0.5)`.

    Args:
      x: `[z y x c]`, the part of the source that is touched.
      coordinates: Where the voxels of a region come from.
      region: What is returned.
      start: Where `x` begins in the source.
      shape: Of the source.
      order: 0, 1 or 3.
      fill: Value outside; `None`: the nearest voxel's.
      is_inside: Whether no coordinate lies outside of `[0, n - 1)`, which saves looking.
    """
    dtype = x.dtype
    num_channels = x.shape[3]
    if order:
        x = x.astype(working_dtype(dtype), copy=False)
    if order == 3:
        x = spline_coefficients(x)
    x = np.ascontiguousarray(x)
    out = np.empty((*region.shape, num_channels), dtype)
    slabs = _slabs(region)
    pick = functools.partial(_cubic if order == 3 else _nearest, x, start)
    if order == 1:
        pick = _Linear(x, start, slabs[0])
    for slab in slabs:
        places = coordinates(slab)
        outside = None
        if not is_inside:
            places, outside = _clamped(places, shape, order, with_mask=fill is not None)
        values = pick(places, slab.shape)
        if outside is not None:
            values[np.broadcast_to(outside, slab.shape)] = fill
        z = slab.start[0] - region.start[0]
        out[z : z + slab.shape[0]] = cast_back(values, dtype) if order else values
    return out


def _slabs(region: Region, num_voxels: int = 65_536) -> list[Region]:
    """Cuts a region along z, so that what is in work stays in the cache."""
    (start, y0, x0), (stop, y1, x1) = region.start, region.stop
    step = max(num_voxels // max((y1 - y0) * (x1 - x0), 1), 1)
    return [
        Region((z, y0, x0), (min(z + step, stop), y1, x1))
        for z in range(start, stop, step)
    ]


def _clamped(
    places: tuple[np.ndarray, ...], shape: Shape, order: int, *, with_mask: bool
) -> tuple[tuple[np.ndarray, ...], np.ndarray | None]:
    outside = None
    if with_mask:
        for place, size in zip(places, shape, strict=True):
            is_out = (place < -0.5) | (place >= size - 0.5)
            outside = is_out if outside is None else outside | is_out
        if outside is not None and not outside.any():
            outside = None
    edge = rim(order)
    pairs = zip(places, shape, strict=True)
    return tuple(np.clip(p, -edge, n - 1 + edge) for p, n in pairs), outside


def rim(order: int) -> float:
    """Returns how far behind the outer voxels' centres values still change.

    Up to their faces for the cubic spline, which goes on mirrored there.
    """
    return 0.5 if order == 3 else 0.0


def _nearest(x: np.ndarray, start: Shape, places: Any, shape: Shape) -> np.ndarray:
    iz, iy, ix = (
        np.floor(place + np.asarray(0.5, place.dtype)).astype(np.intp) - first
        for place, first in zip(places, start, strict=True)
    )
    flat = np.broadcast_to((iz * x.shape[1] + iy) * x.shape[2] + ix, shape)
    return np.take(x.reshape(-1, x.shape[3]), flat, axis=0)


class _Linear:
    """Mixes eight neighbours: along x, then y, then z."""

    def __init__(self, x: np.ndarray, start: Shape, largest: Region) -> None:
        self._x = x
        self._start = start
        # Memory that is new for every slab costs more than all arithmetic. With one
        # channel, rows of one number would be taken one by one.
        num_channels = x.shape[3]
        row = () if num_channels == 1 else (num_channels,)
        self._voxels = x.reshape(-1, *row)
        self._spare = np.empty((4, math.prod(largest.shape), *row), x.dtype)

    def __call__(self, places: Any, shape: Shape) -> np.ndarray:
        flat, weights, steps = _lower_corners(self._x, places, shape, self._start)
        weights = [w.reshape(-1, *[1] * (self._voxels.ndim - 1)) for w in weights]

        def mixed(axis: int, offset: int, depth: int) -> np.ndarray:
            if axis == 3:
                out = self._spare[depth, : len(flat)]
                return np.take(self._voxels[offset:], flat, 0, out, "wrap")
            here = mixed(axis + 1, offset, depth)
            there = mixed(axis + 1, offset + steps[axis], depth + 1)
            there -= here
            there *= weights[axis]
            here += there
            return here

        return mixed(0, 0, 0).reshape(*shape, self._x.shape[3])


def _lower_corners(
    x: np.ndarray, places: Any, shape: Shape, start: Shape
) -> tuple[np.ndarray, list[np.ndarray], list[int]]:
    """Returns the voxel before each place, and how far it is on, along (z, y, x).

    Returns:
      Index into all voxels `i[n]`, weights of the voxel behind `f[n]` along each axis,
      and how many voxels lie between neighbours along each axis.
    """
    index_type = np.int32 if x.size < 2**31 else np.int64
    strides = (x.shape[1] * x.shape[2], x.shape[2], 1)
    parts, weights, steps = [], [], []
    for axis, place in enumerate(places):
        size = x.shape[axis]
        floor = place.astype(index_type)  # Coordinates are not negative here.
        # The last voxel has no neighbour behind it: it is reached from the one before.
        if size > 1:
            np.minimum(floor, start[axis] + size - 2, out=floor)
        weight = place - floor.astype(place.dtype)
        weights.append(np.broadcast_to(weight.astype(x.dtype, copy=False), shape))
        floor -= index_type(start[axis])
        floor *= index_type(strides[axis])
        parts.append(floor)
        steps.append(strides[axis] if size > 1 else 0)
    flat = np.broadcast_to(parts[0] + parts[1] + parts[2], shape)
    return flat.reshape(-1).astype(np.intp), [w.reshape(-1) for w in weights], steps


def _cubic(x: np.ndarray, start: Shape, places: Any, shape: Shape) -> np.ndarray:
    from scipy import ndimage

    where = np.stack(
        [
            np.broadcast_to(place - first, shape)
            for place, first in zip(places, start, strict=True)
        ]
    )
    channels = [
        ndimage.map_coordinates(
            x[..., c], where, x.dtype, order=3, mode="mirror", prefilter=False
        )
        for c in range(x.shape[3])
    ]
    return np.stack(channels, axis=-1)


def spline_coefficients(x: np.ndarray) -> np.ndarray:
    """Returns the coefficients of the cubic B-spline through the voxels."""
    from scipy import ndimage

    for axis in range(3):
        if x.shape[axis] > 1:
            x = ndimage.spline_filter1d(x, 3, axis, mode="mirror").astype(x.dtype)
    return x


def affine_coordinates(
    matrix: np.ndarray, offset: np.ndarray, region: Region, dtype: type = np.float64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `matrix @ index + offset` for the indices of a region.

    Each is rounded in the same way whatever the region, so that a voxel gets the same
    value in all of them.
    """
    rows = []
    for row, first in zip(matrix, offset, strict=True):
        terms = []
        for axis, (a, b) in enumerate(zip(region.start, region.stop, strict=True)):
            term = row[axis] * np.arange(a, b) + (first if axis == 0 else 0.0)
            shape = [1, 1, 1]
            shape[axis] = b - a
            terms.append(term.astype(dtype).reshape(shape))
        rows.append((terms[0] + terms[1]) + terms[2])
    z, y, x = rows
    return z, y, x


def corners(
    matrix: np.ndarray, offset: np.ndarray, region: Region
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and greatest coordinates of a region behind a map."""
    ends = np.array([region.start, np.array(region.stop) - 1], np.float64)
    terms = ends[:, None, :] * matrix
    low = terms.min(axis=0).sum(axis=1) + offset
    high = terms.max(axis=0).sum(axis=1) + offset
    return low, high


def bspline(f: np.ndarray) -> list[np.ndarray]:
    """Returns the values of the four cubic B-splines that reach a fraction in [0, 1)."""
    g = 1 - f
    return [
        g**3 / 6,
        2 / 3 - f**2 * (2 - f) / 2,
        2 / 3 - g**2 * (2 - g) / 2,
        f**3 / 6,
    ]
