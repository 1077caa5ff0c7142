"""Augmentations of values: brightness, contrast, noise, blur. Places stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.volumes.augment.base import Augmentation, Range
from kauldron.volumes.augment.moves import Grid
from kauldron.volumes.augment.noise import normal
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Halo,
    Part,
    PointTransform,
    VolumeTransform,
    as_shape,
    per_axis,
)
from kauldron.volumes.transforms.boxes import check_axes
from kauldron.volumes.transforms.chain import Chain
from kauldron.volumes.transforms.resampling import Resample


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(PointTransform):
    """`x * factor + offset`."""

    factor: float = 1.0
    offset: float = 0.0

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns them in floats."""
        y = np.multiply(x, np.float32(self.factor), dtype=_float(x))
        if self.offset:
            y += y.dtype.type(self.offset)
        return y


@dataclasses.dataclass(frozen=True, kw_only=True)
class Power(PointTransform):
    """The part of a range of values, to a power."""

    gamma: float
    value_range: tuple[float, float]

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns them in floats; those beyond the range are moved to its ends."""
        low, high = self.value_range
        y = np.subtract(x, np.float32(low), dtype=_float(x))
        y *= y.dtype.type(1 / (high - low))
        np.clip(y, 0, 1, out=y)
        np.power(y, y.dtype.type(self.gamma), out=y)
        y *= y.dtype.type(high - low)
        y += y.dtype.type(low)
        return y


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddedNoise(VolumeTransform):
    """Adds normal noise, which is a function of the place."""

    std: float
    key: int

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the noisy region."""
        x = part.cropped(region)
        noise = normal(self.key, region, x.shape[3])
        noise *= np.float32(self.std)
        return np.add(x, noise, out=noise) if x.dtype == np.float32 else x + noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blurred(VolumeTransform):
    """Blurs by a Gaussian of so many voxels along (z, y, x), cut at 4 deviations."""

    sigma: tuple[float, float, float]

    @property
    def reach(self) -> Halo:
        """Four deviations."""
        return Halo(as_shape([int(4 * s + 0.5) for s in self.sigma]))

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the blurred region; the outer voxels go on beyond the volume."""
        from scipy import ndimage

        x = part.array.astype(_float(part.array), copy=False)
        for axis, sigma in enumerate(self.sigma):
            if sigma < 1e-3:  # the Gaussian of a deviation of 0 is no number
                continue
            x = ndimage.gaussian_filter1d(x, sigma, axis, mode="nearest")
        return dataclasses.replace(part, array=x).cropped(region)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holes(VolumeTransform):
    """Fills boxes."""

    boxes: tuple[Region, ...]
    value: float

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the region with the holes that touch it."""
        x = np.array(part.cropped(region))
        for box in self.boxes:
            z, y, x_ = (
                slice(max(a - s, 0), max(b - s, 0))
                for a, b, s in zip(box.start, box.stop, region.start, strict=True)
            )
            x[z, y, x_] = self.value
        return x


def _float(x: np.ndarray) -> np.dtype:
    return x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness(Augmentation):
    """Adds a number.

    Attributes:
      offset: Range of the number.
    """

    offset: Range = (-0.1, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("offset")

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the addition."""
        del grid
        return Linear(offset=rng.uniform(*self.offset))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast(Augmentation):
    """Moves values away from a center or towards it.

    Attributes:
      factor: Range of the factor.
      center: Value that stays: 0 of a standardised volume.
    """

    factor: Range = (0.75, 1.25)
    center: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("factor")

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the line through the center."""
        del grid
        factor = rng.uniform(*self.factor)
        return Linear(factor=factor, offset=self.center * (1 - factor))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gamma(Augmentation):
    """Bends the scale of values: `low + (high - low) * ((x - low) / (high - low))**gamma`.

    Attributes:
      gamma: Range of the power, drawn evenly in its logarithm.
      value_range: `(low, high)`, the values that stay. Those beyond are moved to them.
    """

    gamma: Range = (0.7, 1.5)
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("gamma", least=1e-3)
        if self.value_range[0] >= self.value_range[1]:
            raise VolumeError(f"`Gamma.value_range` is empty: got {self.value_range}.")

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the power."""
        del grid
        gamma = float(np.exp(rng.uniform(*np.log(self.gamma))))
        return Power(gamma=gamma, value_range=self.value_range)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise(Augmentation):
    """Adds normal noise, new at each voxel.

    Attributes:
      std: Range of its standard deviation.
    """

    std: Range = (0.0, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("std", least=0)

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the noise."""
        del grid
        return AddedNoise(std=rng.uniform(*self.std), key=int(rng.integers(2**32)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blur(Augmentation):
    """Blurs by a Gaussian.

    Attributes:
      sigma_mm: Range of its deviation, one for all axes.
    """

    sigma_mm: Range = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("sigma_mm", least=0)

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the blur, in voxels."""
        z, y, x = rng.uniform(*self.sigma_mm) / grid.geometry.spacing_mm
        return Blurred(sigma=(float(z), float(y), float(x)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cutout(Augmentation):
    """Fills boxes at random places.

    Attributes:
      num: How many.
      size: Voxels of each along (z, y, x), or one number.
      value: What is put there.
    """

    num: int = 1
    size: int | Sequence[int] = 8
    value: float = 0.0

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the boxes, which lie inside of the volume where they fit."""
        size = np.minimum(per_axis("size", self.size), grid.shape)
        boxes = []
        for _ in range(self.num):
            start = rng.integers(0, np.array(grid.shape) - size + 1)
            boxes.append(Region(as_shape(start), as_shape(start + size)))
        return Holes(boxes=tuple(boxes), value=self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowResolution(Augmentation):
    """Makes the volume one of larger voxels, and reads it between them.

    Attributes:
      factor: Range of how much larger voxels get.
      axes: 0, 1, 2 for z, y, x: along which ones.
    """

    factor: Range = (1.0, 2.0)
    axes: Sequence[int] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("factor", least=1)
        check_axes("LowResolution", self.axes)

    def draw(self, rng: np.random.Generator, grid: Grid) -> VolumeTransform:
        """Returns the way to fewer voxels and back."""
        shape = np.array(grid.shape)
        factor = rng.uniform(*self.factor)
        fewer = shape.copy()
        axes = list(self.axes)
        fewer[axes] = np.maximum(np.rint(shape[axes] / factor), 1)
        down = Resample(shape=as_shape(fewer), anti_alias=True, fill=None)
        return Chain([down, Resample(shape=as_shape(shape), fill=None)])
