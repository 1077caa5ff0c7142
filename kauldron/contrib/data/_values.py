"""Arithmetic on values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron import data

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(data.ElementWiseTransform):
    """Multiplies values by a factor, in f32 (f64 for f64).

    Attributes:
      factor: A number, or numbers that broadcast with the last axes.
    """

    factor: Any

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        values = _as_float(element)
        return values * np.asarray(self.factor, values.dtype)

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddBias(data.ElementWiseTransform):
    """Adds to values, in f32 (f64 for f64).

    Attributes:
      bias: A number, or numbers that broadcast with the last axes.
    """

    bias: Any

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        values = _as_float(element)
        return values + np.asarray(self.bias, values.dtype)

    map_batch = map_element


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standardize(data.ElementWiseTransform):
    """Gives the values of each example the mean 0 and the standard deviation 1.

    Attributes:
      min_std: Smallest standard deviation that is divided by; a constant becomes 0. By
        default one over the root of the number of values, for values in [0, 255].
    """

    min_std: float | None = None

    def map_element(self, element: npt.ArrayLike) -> np.ndarray:
        values = _as_float(element)
        # In f64: a sum of a million bytes is past what f32 counts exactly.
        mean = values.mean(dtype=np.float64)
        std = values.std(dtype=np.float64)
        least = (
            1 / np.sqrt(max(values.size, 1)) if self.min_std is None else self.min_std
        )
        return ((values - mean) / max(std, least)).astype(values.dtype)


def _as_float(element: Any) -> np.ndarray:
    values = np.asarray(element)
    return values.astype(np.float64 if values.dtype == np.float64 else np.float32)
