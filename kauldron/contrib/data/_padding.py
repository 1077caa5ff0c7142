"""Padding with a constant at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kauldron import data
from kauldron._base import public

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class PadFirstDimensionToFixedSize(data.ElementWiseTransform):
    """Cuts or pads the first axis of arrays to one length.

    Attributes:
      size: The length, >= 0.
      value: What is appended.

    Raises:
      DataError: If an array has no axis, or `size` is negative.
    """

    size: int
    value: float = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 0:
            raise data.DataError(f"`size` must not be negative: got {self.size}.")

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        values = np.asarray(element)
        if not values.ndim:
            raise data.DataError(
                f"PadFirstDimensionToFixedSize({self.key!r}) needs an axis to pad: got a "
                "scalar."
            )
        values = values[: self.size]
        return _pad(values, [self.size - len(values)], self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PadToMultiple(data.ElementWiseTransform):
    """Appends a constant until the length of each axis is a multiple of a number.

    Attributes:
      multiples: Of the leading axes; `None` keeps an axis. `(8, 8)` for images.
      value: What is appended.

    Raises:
      DataError: If an array has fewer axes, or a multiple is below 1.
    """

    multiples: Sequence[int | None]
    value: float = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(m is not None and m < 1 for m in self.multiples):
            raise data.DataError(f"`multiples` are at least 1: got {self.multiples}.")

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        values = np.asarray(element)
        if values.ndim < len(self.multiples):
            raise data.DataError(
                f"PadToMultiple({self.key!r}): `multiples` has {len(self.multiples)} "
                f"axes, the array has {values.ndim}: {values.shape}."
            )
        missing = [
            0 if multiple is None else -size % multiple
            for size, multiple in zip(values.shape, self.multiples, strict=False)
        ]
        return _pad(values, missing, self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PadImage(data.ElementWiseTransform):
    """Puts images `[*b h w c]` in the middle of larger ones.

    Attributes:
      shape: (height, width) in pixels of the result.
      value: Of the pixels around.

    Raises:
      DataError: If an image is larger, or is none.
    """

    shape: tuple[int, int]
    value: float = 0

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        images = np.asarray(element)
        if images.ndim < 3 or any(
            new < old for new, old in zip(self.shape, images.shape[-3:-1], strict=True)
        ):
            raise data.DataError(
                f"PadImage({self.key!r}): an array of shape {images.shape} does not fit "
                f"into an image of {tuple(self.shape)} pixels."
            )
        widths = [(0, 0)] * images.ndim
        for axis, new in zip((-3, -2), self.shape, strict=True):
            missing = new - images.shape[axis]
            widths[axis] = (missing // 2, missing - missing // 2)
        return np.pad(images, widths, constant_values=images.dtype.type(self.value))

    map_batch = map_element


def _pad(values: np.ndarray, missing: list[int], value: float) -> np.ndarray:
    widths = [(0, n) for n in missing] + [(0, 0)] * (values.ndim - len(missing))
    return np.pad(values, widths, constant_values=values.dtype.type(value))


public.move(PadImage, "kauldron.contrib.data.py")
