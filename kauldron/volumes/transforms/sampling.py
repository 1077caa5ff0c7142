"""Values between voxels: which ones are mixed, and what lies outside."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import as_shape

# Cubic splines are prefiltered over all of a line; what lies further away than this
# counts less than 1e-9.
SPLINE_MARGIN = 16
ORDERS = (0, 1, 3)

# Returns where the voxels of a slab come from, in voxels of the source: `f[3 z y x]`. It
# may be written to, and holds until the next call.
Coordinates = Callable[[Region], np.ndarray]


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
    inside: Sequence[bool] = (False, False, False),
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
      inside: For each axis, whether no coordinate lies outside of `[0, n - 1]`, which
        saves looking.
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
    if order == 3:
        pick = functools.partial(_cubic, x, start)
    else:
        pick = _Lookup(x, start, slabs[0], order)
    for slab in slabs:
        places = coordinates(slab)
        outside = _clamp(places, shape, order, inside, with_mask=fill is not None)
        values = pick(places, slab.shape)
        if outside is not None:
            values[outside] = fill
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


def _clamp(
    places: np.ndarray,
    shape: Shape,
    order: int,
    inside: Sequence[bool],
    *,
    with_mask: bool,
) -> np.ndarray | None:
    """Moves coordinates into the volume; returns which were outside, if some were."""
    outside = None
    edge = rim(order)
    for place, size, is_inside in zip(places, shape, inside, strict=True):
        if is_inside:
            continue
        if with_mask:
            is_out = place < -0.5
            is_out |= place >= size - 0.5
            outside = is_out if outside is None else np.logical_or(outside, is_out)
        np.clip(place, -edge, size - 1 + edge, out=place)
    return outside if outside is not None and outside.any() else None


def rim(order: int) -> float:
    """Returns how far behind the outer voxels' centres values still change.

    Up to their faces for the cubic spline, which goes on mirrored there.
    """
    return 0.5 if order == 3 else 0.0


class _Lookup:
    """Takes the nearest voxel, or mixes eight: along x, then y, then z.

    Its memory is used again for each slab: new memory costs more than all arithmetic.
    """

    def __init__(
        self, x: np.ndarray, start: Shape, largest: Region, order: int
    ) -> None:
        self._order = order
        self._shape = x.shape
        # With one channel, rows of one number would be taken one by one.
        row = () if x.shape[3] == 1 else (x.shape[3],)
        self._voxels = x.reshape(-1, *row)
        self._strides = (x.shape[1] * x.shape[2], x.shape[2], 1)
        self._first = sum(a * b for a, b in zip(start, self._strides, strict=True))
        self._last = [a + n - 2 for a, n in zip(start, x.shape[:3], strict=True)]
        size = math.prod(largest.shape)
        self._floor = np.empty((3, size), np.int32 if x.size < 2**31 else np.int64)
        self._flat = np.empty(size, np.intp)
        self._mixed = np.empty((4 if order else 1, size, *row), x.dtype)

    def __call__(self, places: np.ndarray, shape: Shape) -> np.ndarray:
        num = math.prod(shape)
        place = places.reshape(3, num)
        if self._order == 0:
            place += place.dtype.type(0.5)
            self._find(place, num)
            result = self._take(0, 0, num)
        else:
            self._find(place, num)
            result = self._mix(0, 0, 0, place)
        return result.reshape(*shape, self._shape[3])

    def _find(self, place: np.ndarray, num: int) -> None:
        """Finds the voxels before places, which become the distances to them."""
        floor = self._floor[:, :num]
        np.copyto(floor, place, casting="unsafe")  # Coordinates are not negative here.
        if self._order:
            # The last voxel has no neighbour behind it: it is reached from before.
            for axis, last in enumerate(self._last):
                if self._shape[axis] > 1:
                    np.minimum(floor[axis], last, out=floor[axis])
            np.subtract(place, floor, out=place, dtype=place.dtype, casting="unsafe")
        floor[0] *= floor.dtype.type(self._strides[0])
        floor[1] *= floor.dtype.type(self._strides[1])
        floor[0] += floor[1]
        floor[0] += floor[2]
        floor[0] -= floor.dtype.type(self._first)
        np.copyto(self._flat[:num], floor[0])

    def _take(self, depth: int, offset: int, num: int) -> np.ndarray:
        out = self._mixed[depth, :num]
        return np.take(self._voxels[offset:], self._flat[:num], 0, out, "wrap")

    def _mix(
        self, axis: int, offset: int, depth: int, weights: np.ndarray
    ) -> np.ndarray:
        if axis == 3:
            return self._take(depth, offset, weights.shape[1])
        step = self._strides[axis] if self._shape[axis] > 1 else 0
        weight = weights[axis].astype(self._mixed.dtype, copy=False)
        here = self._mix(axis + 1, offset, depth, weights)
        there = self._mix(axis + 1, offset + step, depth + 1, weights)
        there -= here
        there *= weight.reshape(-1, *[1] * (here.ndim - 1))
        here += there
        return here


def _cubic(x: np.ndarray, start: Shape, places: np.ndarray, shape: Shape) -> np.ndarray:
    from scipy import ndimage

    del shape
    where = places - np.array(start, places.dtype).reshape(3, 1, 1, 1)
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
    matrix: np.ndarray, offset: np.ndarray, dtype: type = np.float64
) -> Coordinates:
    """Returns the function from slabs to `matrix @ index + offset`.

    Each is rounded in the same way whatever the slab, so that a voxel gets the same value
    in all of them.
    """
    memory = np.empty(0, dtype)

    def coordinates(slab: Region) -> np.ndarray:
        nonlocal memory
        num = 3 * math.prod(slab.shape)
        if memory.size < num:
            memory = np.empty(num, dtype)
        places = memory[:num].reshape(3, *slab.shape)
        for row, first, place in zip(matrix, offset, places, strict=True):
            z, y, x = (
                row[axis] * np.arange(slab.start[axis], slab.stop[axis])
                for axis in range(3)
            )
            plane = (z + first).astype(dtype)[:, None] + y.astype(dtype)
            np.add(plane[..., None], x.astype(dtype), out=place)
        return places

    return coordinates


def snapped_coordinates(matrix: np.ndarray, offset: np.ndarray) -> Coordinates:
    """Returns what `affine_coordinates` does, to 2**-24 voxels."""
    coordinates = affine_coordinates(matrix, offset)

    def snapping(slab: Region) -> np.ndarray:
        places = coordinates(slab)
        places *= 2.0**24
        np.rint(places, out=places)
        places *= 2.0**-24
        return places

    return snapping


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
