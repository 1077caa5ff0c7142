"""Colour augmentation, and RandAugment."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kauldron.data import _errors
from kauldron.data._draws import Draws
from kauldron.data.transforms import _numbers, random_crops

# Weights of red, green and blue in the brightness of a pixel: ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorJitter(random_crops.VectorRandomTransform):
    """Changes brightness, contrast, saturation and hue of RGB images `[*b h w 3]`.

    Each factor is drawn from `[1 - x, 1 + x]`, the hue from `[-hue, hue]`; they are
    applied in this order. Bytes stay bytes; floats are taken to be in [0, 1].

    Attributes:
      brightness: All channels are multiplied.
      contrast: Distances from the image's mean brightness are multiplied.
      saturation: Distances from the pixel's own brightness are multiplied.
      hue: Largest turn of the colour circle, at most 0.5.

    Raises:
      DataError: If a value is negative, or the images have not 3 channels.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast", "saturation", "hue"):
            if getattr(self, name) < 0:
                raise _errors.DataError(
                    f"ColorJitter: `{name}` must be >= 0: got {getattr(self, name)}."
                )
        if self.hue > 0.5:
            raise _errors.DataError(
                f"ColorJitter: `hue` is at most 0.5, half a turn: got {self.hue}."
            )

    def random_batch(self, values: np.ndarray, draws: Draws) -> Any:
        factors = [
            draws.uniform(1 - width, 1 + width)
            for width in (self.brightness, self.contrast, self.saturation)
        ]
        turns = draws.uniform(-self.hue, self.hue)
        return [
            self._jitter(np.asarray(image), *numbers)
            for image, *numbers in zip(values, *factors, turns, strict=True)
        ]

    def _jitter(
        self,
        image: np.ndarray,
        brightness: float,
        contrast: float,
        saturation: float,
        turn: float,
    ) -> np.ndarray:
        if image.shape[-1] != 3:
            raise _errors.DataError(
                f"ColorJitter needs 3 channels on the last axis: got {image.shape}."
            )
        values = _to_unit(image)
        if self.brightness:
            values = values * np.float32(max(brightness, 0.0))
        if self.contrast:
            mean = (values @ _LUMA).mean()
            values = mean + (values - mean) * np.float32(max(contrast, 0.0))
        if self.saturation:
            gray = (values @ _LUMA)[..., None]
            values = gray + (values - gray) * np.float32(max(saturation, 0.0))
        if self.hue:
            values = values @ _hue_rotation(turn).T
        return _from_unit(values, image.dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment(random_crops.VectorRandomTransform):
    """Applies a few random operations to byte images `[h w 3]` or `[h w 1]`.

    The operations are those of the paper: identity, auto-contrast, equalise, rotate,
    solarise, colour, posterise, contrast, brightness, sharpness, shear and translate in
    x and y.

    Attributes:
      num_layers: How many operations each example gets.
      magnitude: Their strength, 0 to 30; 9 or 10 is usual.
      fill: Value of pixels that come from outside of the image.

    Raises:
      DataError: If images are not bytes, or `magnitude` is out of range.

    Reference: Cubuk et al. 2020, RandAugment, arXiv:1909.13719, appendix.
    """

    num_layers: int = 2
    magnitude: float = 9.0
    fill: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.magnitude <= 30 or self.num_layers < 1:
            raise _errors.DataError(
                "RandAugment: `magnitude` is in [0, 30] and `num_layers` at least 1: got "
                f"{self.magnitude} and {self.num_layers}."
            )
        _numbers.fill_value("RandAugment", "fill", self.fill, np.dtype(np.uint8))

    def random_batch(self, values: np.ndarray, draws: Draws) -> Any:
        from kauldron.data.transforms import _rand_augment_ops

        num_ops = len(_rand_augment_ops.OPERATIONS)
        layers = [
            (draws.integers(0, num_ops), draws.uniform() < 0.5)
            for _ in range(self.num_layers)
        ]
        return [
            _rand_augment_ops.apply(
                np.asarray(image),
                [(int(ops[i]), bool(negate[i])) for ops, negate in layers],
                strength=self.magnitude / 30,
                fill=self.fill,
            )
            for i, image in enumerate(values)
        ]


def _to_unit(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    if not _numbers.is_float(image.dtype):
        raise _errors.DataError(
            f"Colours are bytes or floats in [0, 1]: got {image.dtype}. Convert them "
            "with `kd.data.ValueRange` first."
        )
    return image.astype(np.float32)


def _from_unit(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    values = values.clip(0, 1)
    if dtype == np.uint8:
        return np.rint(values * 255).astype(np.uint8)
    return values.astype(dtype)


def _hue_rotation(turn: float) -> np.ndarray:
    """Returns the matrix that turns colours in YIQ space; brightness stays."""
    to_yiq = np.array(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
    )
    angle = 2 * np.pi * turn
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return (np.linalg.inv(to_yiq) @ rotation @ to_yiq).astype(np.float32)
