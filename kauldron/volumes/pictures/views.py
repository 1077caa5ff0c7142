"""Volumes as pictures: three slices at right angles, with labels, contours and boxes."""

from __future__ import annotations

import colorsys
import dataclasses
import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kauldron.ktyping import Array
from kauldron.volumes.geometry.base import Geometry, Image, Region
from kauldron.volumes.geometry.errors import VolumeError

_GAP = 4  # pixels between the slices
_OPACITY = 0.4
_MAX_PIXELS = 1024
# World axes (x, y, z) of rows and columns, and of which the first goes up: through z, as
# seen from the feet; through y, from the front; through x, from the left.
_PLANES = ((1, 0), (2, 0), (2, 1))


@dataclasses.dataclass(frozen=True, eq=False)
class Views:
    """A picture of a volume, which notebooks show.

    Attributes:
      array: `f32[h w 3]` in [0, 1].
      at: The voxel (z, y, x) in which the slices meet.
    """

    array: np.ndarray
    at: tuple[int, int, int]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture; the suffix of the path says its format."""
        self._image().save(path)

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self._image().save(png, "PNG", optimize=True)
        return png.getvalue()

    def _image(self) -> Any:
        import PIL.Image

        return PIL.Image.fromarray(np.round(self.array * 255).astype(np.uint8))


def views(
    image: Image | Array,
    *,
    labels: Array | None = None,
    contours: Sequence[Array] = (),
    heat: Array | None = None,
    heat_opacity: float = 0.8,
    box: Region | None = None,
    at: Sequence[int] | None = None,
    vrange: tuple[float, float] | None = None,
    min_height: int = 192,
) -> Views:
    """Returns three slices of a volume side by side: axial, coronal, sagittal.

    Square pixels, so that millimetres are as long in all directions, at most 1024 of them. As radiologists have
    it: the left of the patient is on the right, the front above, the head above.

    Args:
      image: A volume, or its array `[z y x]` with cubes for voxels; of several channels,
        the first is shown.
      labels: Label map of the same grid, `i[z y x]`, laid over in colours; 0 is clear.
      contours: Label maps of which only the outlines are drawn; the first as in `labels`,
        each other one brighter.
      heat: Values >= 0, such as errors or losses, `f[z y x]`, laid over in red: the largest
        most. NaN and 0 are clear.
      heat_opacity: How much the largest value hides what is below, in [0, 1].
      box: A region whose outline is drawn, such as a patch.
      at: The voxel (z, y, x) in which the slices meet; unless given, the middle of the box,
        the largest value of the heat, the middle of the labels, or of the volume.
      vrange: Values that are black and white; the 1st and 99th percentile unless given.
      min_height: Small volumes are enlarged by a whole number to so many pixels.

    Raises:
      VolumeError: If the arrays are not of one grid, or `at` is outside of it.
    """
    image = image if isinstance(image, Image) else Image(np.asarray(image))
    gray = image.array[..., 0]
    layers = {"labels": labels, "heat": heat}
    layers |= {f"contours[{i}]": x for i, x in enumerate(contours)}
    maps = {k: _as_map(k, x, gray.shape) for k, x in layers.items() if x is not None}
    if at is None:
        at = _interesting(gray.shape, box, maps)
    if len(at) != 3 or not all(0 <= i < n for i, n in zip(at, gray.shape, strict=True)):
        raise VolumeError(f"`at` is a voxel of {gray.shape}: got {tuple(at)}.")
    at = int(at[0]), int(at[1]), int(at[2])
    spacing = image.geometry.spacing_mm
    # Not millions of pixels where a volume is long, or its slices are thick.
    pixel_mm = max(spacing.min(), (spacing * gray.shape).max() / _MAX_PIXELS)
    layers_of = _Layers(
        gray, _vrange_of(gray) if vrange is None else vrange, maps, heat_opacity, box
    )
    axes = _world_axes(image.geometry)
    slices = [
        _Cut.of(axes, rows, columns, image.geometry, at).draw(
            layers_of, spacing / pixel_mm
        )
        for rows, columns in _PLANES
    ]
    return Views(_side_by_side(slices, min_height), at)


class _Layers(NamedTuple):
    """What is drawn, as volumes: the image, and maps by name."""

    gray: np.ndarray
    vrange: tuple[float, float]
    maps: dict[str, np.ndarray]
    heat_opacity: float
    box: Region | None


@dataclasses.dataclass(frozen=True)
class _Cut:
    """A slice: which axes of the array are its rows and columns, and whether they turn."""

    row_axis: int
    column_axis: int
    is_flipped: tuple[bool, bool]
    at: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        axes: Sequence[int],
        rows: int,
        columns: int,
        geometry: Geometry,
        at: tuple[int, int, int],
    ) -> _Cut:
        row_axis, column_axis = axes[rows], axes[columns]
        goes_down = geometry.matrix[rows, row_axis] > 0
        goes_right = geometry.matrix[columns, column_axis] > 0
        # y grows to the back, which is below; z to the head, which is above.
        wants_down = rows == 1
        return cls(row_axis, column_axis, (goes_down != wants_down, not goes_right), at)

    def draw(self, layers: _Layers, scale: np.ndarray) -> np.ndarray:
        """Returns the slice `f32[h w 3]`, with contours as thin as its pixels."""
        low, high = layers.vrange
        gray = self._pixels(layers.gray, scale).astype(np.float32)
        gray = np.nan_to_num(gray, nan=0.0, posinf=0.0, neginf=0.0)
        gray = np.clip((gray - low) / (high - low if high > low else 1), 0, 1)
        picture = np.repeat(gray[..., None], 3, axis=-1)
        maps = {k: self._pixels(x, scale) for k, x in layers.maps.items()}
        if "labels" in maps:
            inside = maps["labels"] != 0
            over = _colors_of(maps["labels"][inside])
            picture[inside] += _OPACITY * (over - picture[inside])
        if "heat" in maps:
            largest = max(float(layers.maps["heat"].max(initial=0)), 1e-30)
            share = layers.heat_opacity * np.clip(maps["heat"] / largest, 0, 1)
            red = np.array([1, 0.1, 0], np.float32)
            picture += share[..., None] * (red - picture)
        for name, drawn in maps.items():
            if name.startswith("contours"):
                edge = _edges(drawn)
                white = min(int(name[9:-1]), 2) * 0.4
                picture[edge] = _colors_of(drawn[edge]) * (1 - white) + white
        if layers.box is not None:
            inside = np.zeros(layers.gray.shape, bool)
            inside[layers.box.slices] = True
            edge = _edges(self._pixels(inside, scale).astype(int))
            picture[edge] = (1, 1, 0)
        return picture.astype(np.float32)

    def _pixels(self, x: Any, scale: np.ndarray) -> np.ndarray:
        index: list[Any] = list(self.at)
        index[self.row_axis] = index[self.column_axis] = slice(None)
        plane = x[tuple(index)]
        if self.row_axis > self.column_axis:
            plane = np.swapaxes(plane, 0, 1)
        for axis, own in enumerate((self.row_axis, self.column_axis)):
            if self.is_flipped[axis]:
                plane = np.flip(plane, axis)
            size = max(1, round(plane.shape[axis] * float(scale[own])))
            nearest = (np.arange(size) + 0.5) * plane.shape[axis] / size
            plane = np.take(plane, nearest.astype(int), axis=axis)
        return plane


def _world_axes(geometry: Geometry) -> list[int]:
    """Returns the axis of the array that is closest to each of (x, y, z)."""
    left = np.abs(geometry.direction)
    axes = [0, 0, 0]
    for _ in range(3):
        world, own = np.unravel_index(np.argmax(left), left.shape)
        axes[int(world)] = int(own)
        left[world, :] = left[:, own] = -1
    return axes


def _as_map(name: str, x: Array, shape: tuple[int, ...]) -> np.ndarray:
    x = np.asarray(x)
    x = x[..., 0] if x.ndim == 4 and x.shape[-1] == 1 else x
    if x.shape != shape:
        raise VolumeError(
            f"`{name}` must be of the grid of the image: got {x.shape} for {shape}."
        )
    return np.nan_to_num(x, nan=0.0) if name == "heat" else x


def _interesting(
    shape: tuple[int, ...], box: Region | None, maps: dict[str, np.ndarray]
) -> list[int]:
    if box is not None:
        return [(a + b - 1) // 2 for a, b in zip(box.start, box.stop, strict=True)]
    if "heat" in maps and maps["heat"].any():
        return [int(i) for i in np.unravel_index(np.argmax(maps["heat"]), shape)]
    for labels in maps.values():
        if labels.any():
            inside = labels != 0
            return [_middle(inside, axis) for axis in range(3)]
    return [n // 2 for n in shape]


def _middle(inside: np.ndarray, axis: int) -> int:
    """Returns the plane that halves a region."""
    counts = inside.sum(axis=tuple(i for i in range(3) if i != axis)).cumsum()
    return int(np.searchsorted(counts, counts[-1] / 2))


def _vrange_of(gray: np.ndarray) -> tuple[float, float]:
    some = gray.ravel()[:: max(1, gray.size // 100_000)].astype(np.float32)
    some = some[np.isfinite(some)]
    low, high = np.percentile(some, (1, 99)) if some.size else (0.0, 1.0)
    return float(low), float(high)


def _colors_of(labels: np.ndarray) -> np.ndarray:
    """Returns a colour for each label, `f32[n 3]`: neighbours are easily told apart."""
    ids, places = np.unique(labels, return_inverse=True)
    hues = (
        0.58 + (ids.astype(np.int64) - 1) * 0.618034
    ) % 1  # golden ratio: never close
    palette = [colorsys.hsv_to_rgb(h, 0.8, 1.0) for h in hues.tolist()]
    return np.asarray(palette, np.float32).reshape(-1, 3)[places.ravel()]


def _edges(labels: np.ndarray) -> np.ndarray:
    """Returns the pixels of labels with a neighbour of another label."""
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    is_edge = np.zeros(inner.shape, bool)
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        h, w = inner.shape
        is_edge |= padded[rows : rows + h, columns : columns + w] != inner
    return is_edge & (inner != 0)


def _side_by_side(slices: list[np.ndarray], min_height: int) -> np.ndarray:
    height = max(x.shape[0] for x in slices)
    times = max(1, round(min_height / height))
    parts = []
    for x in slices:
        x = x.repeat(times, 0).repeat(times, 1)
        above = (height * times - x.shape[0]) // 2
        below = height * times - x.shape[0] - above
        parts.append(np.pad(x, ((above, below), (0, _GAP), (0, 0))))
    return np.concatenate(parts, axis=1)[:, :-_GAP]


def patch_map(
    starts: Array, values: Array, *, patch_size: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """Returns the values of patches at their places in the volume, for `views(heat=…)`.

    Args:
      starts: First voxel of each patch, (z, y, x), `i[n 3]`.
      values: A number for each patch, such as its loss, `f[n]`.
      patch_size: Voxels of a patch along (z, y, x).
      shape: Of the volume.

    Returns:
      `f32[z y x]`: the mean over the patches that hold a voxel, NaN where none does.

    Raises:
      VolumeError: If there is not a number for each patch.
    """
    starts, values = np.asarray(starts), np.asarray(values, np.float64).ravel()
    if starts.shape != (len(values), 3):
        raise VolumeError(
            "There is one start (z, y, x) and one value for each patch: got starts "
            f"{starts.shape} and {len(values)} values."
        )
    total, count = np.zeros((2, *shape))
    for start, value in zip(starts.tolist(), values.tolist(), strict=True):
        # Patches may begin before the volume, where it is padded.
        stop = (i + n for i, n in zip(start, patch_size, strict=True))
        box = tuple(
            slice(max(i, 0), max(j, 0)) for i, j in zip(start, stop, strict=True)
        )
        total[box] += value
        count[box] += 1
    nothing = np.full(total.shape, np.nan)
    return np.divide(total, count, out=nothing, where=count > 0).astype(np.float32)
