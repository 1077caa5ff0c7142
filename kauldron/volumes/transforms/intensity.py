"""Transforms of values: clipped, between bounds, to mean 0 and deviation 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Image, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Others,
    Point,
    PointTransform,
    Reach,
    Undo,
    VolumeTransform,
    Whole,
)
from kauldron.volumes.transforms.others import mask_by

Numbers = float | Sequence[float]


def known_values(image: Image, others: Others, by: str | None, name: str) -> np.ndarray:
    """Returns the voxels that statistics are made of, `f[n c]`.

    Args:
      image: The volume.
      others: The other groups of the case.
      by: Group that is above 0 where the voxels count; all of them unless given.
      name: Of the transform, for errors.

    Raises:
      VolumeError: If no voxel counts, or some are not finite.
    """
    values = image.array.reshape(-1, image.array.shape[3])
    if by is not None:
        values = values[mask_by(image, others, by, asked_by=name).reshape(-1)]
        if not len(values):
            raise VolumeError(f"`{name}(by={by!r})`: the group is 0 everywhere.")
    if values.dtype.kind == "f":
        num_bad = int(np.count_nonzero(~np.isfinite(values)))
        if num_bad:
            raise VolumeError(
                f"`{name}` makes statistics of the volume, in which {num_bad} of "
                f"{values.size} values are NaN or infinite. Put `Replace` before it, and "
                "before `Resample`, which would spread them, or repair the file."
            )
    return values


def _as_float(x: np.ndarray) -> np.ndarray:
    wide = x.dtype == np.float64 or (x.dtype.kind in "iu" and x.dtype.itemsize > 2)
    return x.astype(np.float64 if wide else np.float32)


def _plain(values: np.ndarray | np.float64) -> float | tuple[float, ...]:
    """Returns one number, or one for each channel."""
    return tuple(map(float, np.atleast_1d(values))) if values.ndim else float(values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip(PointTransform):
    """Moves values that are too low or too high to the bound.

    Attributes:
      low: Smallest value; no bound unless given.
      high: Greatest value.
      percentiles: Instead of both: of the volume, such as `(0.5, 99.5)`.
      by: Group that is above 0 where the voxels count for the percentiles.
    """

    low: float | None = None
    high: float | None = None
    percentiles: tuple[float, float] | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        has_bounds = self.low is not None or self.high is not None
        if has_bounds == (self.percentiles is not None):
            raise VolumeError(
                "`Clip` has either `low` and `high` (one of them suffices) or "
                f"`percentiles`: got {self}."
            )
        if self.low is not None and self.high is not None and self.low > self.high:
            raise VolumeError(f"`Clip.low` is above `Clip.high`: got {self}.")
        if (
            self.percentiles
            and not 0 <= self.percentiles[0] <= self.percentiles[1] <= 100
        ):
            raise VolumeError(
                f"`Clip.percentiles` rise within 0 and 100: got {self.percentiles}."
            )

    @property
    def reach(self) -> Reach:
        """The whole for percentiles."""
        return Point() if self.percentiles is None else Whole()

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns it with the percentiles as bounds."""
        if self.percentiles is None:
            return self
        values = known_values(image, others, self.by, "Clip")
        low, high = np.percentile(values, self.percentiles)
        return Clip(low=float(low), high=float(high))

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns the values within the bounds, in their type."""
        low, high = self.low, self.high
        if x.dtype.kind in "iu":
            limits = np.iinfo(x.dtype)
            low = (
                None
                if low is None
                else int(np.clip(np.rint(low), limits.min, limits.max))
            )
            high = (
                None
                if high is None
                else int(np.clip(np.rint(high), limits.min, limits.max))
            )
        return np.clip(x, low, high)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalize(PointTransform):
    """Maps a range of values to another one, in a straight line.

    Attributes:
      low: What becomes `to[0]`; the volume's smallest value unless given.
      high: What becomes `to[1]`; the volume's greatest value unless given. Values beyond
        go on in the same line: `Clip` before it stops them.
      to: The range of the result.
      by: Group that is above 0 where the voxels count.
    """

    low: float | None = None
    high: float | None = None
    to: tuple[float, float] = (0.0, 1.0)
    by: str | None = None

    def __post_init__(self) -> None:
        if self.to[0] == self.to[1]:
            raise VolumeError(f"`Normalize.to` is a range: got {self.to}.")
        if self.low is not None and self.low == self.high:
            raise VolumeError(
                f"`Normalize` cannot stretch a range of one value: got {self.low} for "
                "`low` and `high`. A constant volume has no range: give both."
            )

    @property
    def reach(self) -> Reach:
        """The whole unless both ends are given."""
        return Whole() if self.low is None or self.high is None else Point()

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns it with the range of the volume."""
        if isinstance(self.reach, Point):
            return self
        values = known_values(image, others, self.by, "Normalize")
        low = float(values.min()) if self.low is None else self.low
        high = float(values.max()) if self.high is None else self.high
        return dataclasses.replace(self, low=low, high=high)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns the values in the new range."""
        self._check_fitted()
        low, high = float(self.low or 0.0), float(self.high or 0.0)
        scale = (self.to[1] - self.to[0]) / (high - low)
        y = _as_float(x)
        y -= y.dtype.type(low)
        y *= y.dtype.type(scale)
        y += y.dtype.type(self.to[0])
        return y

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns the range before."""
        del shape, geometry
        return {"low": self.low, "high": self.high}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the map from the new range to the old one."""
        low, high = self.to
        return Normalize(low=low, high=high, to=(undo["low"], undo["high"]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standardize(PointTransform):
    """Subtracts a mean and divides by a standard deviation.

    Attributes:
      mean: Those of the volume unless given; one number, or one for each channel.
      std: In the same way, > 0.
      by: Group that is above 0 where the voxels count.
      per_channel: Whether each channel has its own mean and deviation.
    """

    mean: Numbers | None = None
    std: Numbers | None = None
    by: str | None = None
    per_channel: bool = False

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise VolumeError(
                f"`Standardize` has both `mean` and `std`, or none of them: got {self}."
            )
        if self.std is not None and not np.all(np.asarray(self.std) > 0):
            raise VolumeError(
                f"`Standardize` divides by a deviation of {self.std}: a constant volume "
                "has none. Give `mean` and `std`, or leave the case out."
            )

    @property
    def reach(self) -> Reach:
        """The whole unless both are given."""
        return Whole() if self.mean is None else Point()

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns it with mean and deviation of the volume."""
        if self.mean is not None:
            return self
        values = known_values(image, others, self.by, "Standardize")
        axis = 0 if self.per_channel else None
        mean = np.mean(values, axis=axis, dtype=np.float64)
        std = np.std(values, axis=axis, dtype=np.float64)
        return dataclasses.replace(self, mean=_plain(mean), std=_plain(std))

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns `(x - mean) / std`."""
        self._check_fitted()
        y = _as_float(x)
        y -= np.asarray(self.mean, y.dtype)
        y *= np.asarray(1.0 / np.asarray(self.std, np.float64), y.dtype)
        return y

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns mean and deviation."""
        del shape, geometry
        return {"mean": self.mean, "std": self.std}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the transform that puts mean and deviation back."""
        mean, std = np.asarray(undo["mean"]), np.asarray(undo["std"])
        return Standardize(mean=_plain(-mean / std), std=_plain(1.0 / std))


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntensityWindows(PointTransform):
    """Makes a channel of each window of intensities, as radiologists look at a volume.

    A narrow window shows a model what differs by little; what lies beyond is one to it,
    however bright.

    Attributes:
      windows: Ranges `(low, high)`: a channel is `to[0]` below it, `to[1]` above it, and
        goes in a straight line within.
      to: The range of all channels.

    Raises:
      VolumeError: If there is no window, or one is empty.
    """

    windows: Sequence[tuple[float, float]]
    to: tuple[float, float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        if not self.windows:
            raise VolumeError("`IntensityWindows.windows` has one window or more.")
        for window in self.windows:
            if len(window) != 2 or not window[0] < window[1]:
                raise VolumeError(
                    "Each of `IntensityWindows.windows` is a range `(low, high)`, in which "
                    f"`low` is the smaller one: got {window!r}."
                )
        # Functions that are compiled can be told apart only if they can be hashed.
        object.__setattr__(self, "windows", tuple(map(tuple, self.windows)))

    def __call__(self, x: Any) -> Any:
        """Returns the channels of any array, `f[*b c * num_windows]`.

        Those of the first window come first. As a `kd.nn.Node`, a model looks through the
        windows after values were augmented, and at each of its slices by itself.

        Args:
          x: `[*b c]`, of NumPy or JAX; integers become f32.
        """
        if x.dtype.kind in "iub":
            x = x.astype(np.float32)
        low, high = np.asarray(self.windows, x.dtype).T[..., None]
        first, last = self.to
        share = ((x[..., None, :] - low) / (high - low)).clip(0, 1)
        return (first + share * (last - first)).reshape(*x.shape[:-1], -1)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns `[z y x c * num_windows]`: all channels of the first window come first."""
        return self(_as_float(x))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replace(PointTransform):
    """Puts a number where values are NaN or infinite.

    Attributes:
      value: The number.
    """

    value: float = 0.0

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns finite values."""
        if x.dtype.kind != "f":
            return x
        return np.where(np.isfinite(x), x, x.dtype.type(self.value))
