"""Small vectors and matrices: checked, frozen, told."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from kauldron.volumes.geometry.errors import VolumeError


def floats(what: str, value: Any) -> np.ndarray:
    """Returns a new array in f64.

    Raises:
      VolumeError: If there is something in it that is no number.
    """
    try:
        if value is None:  # NumPy's NaN
            raise TypeError
        return np.array(value, np.float64)
    except (TypeError, ValueError):
        raise VolumeError(f"{what} consists of numbers: got {value!r}.") from None


def frozen(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a copy in f64 that cannot be written.

    Raises:
      VolumeError: If it has another shape, or a number is not finite.
    """
    array = floats(f"The {name} of a geometry", value)
    if array.shape != shape:
        raise VolumeError(
            f"The {name} of a geometry has the shape {shape}: got {array.shape}."
        )
    if not np.isfinite(array).all():
        raise VolumeError(
            f"The {name} of a geometry has numbers that are not finite: {array}"
        )
    array.flags.writeable = False
    return array


def told(values: Any) -> str:
    """Returns numbers as people write them: `(1, 0.5, 0.5)`."""
    return f"({', '.join(f'{float(value):g}' for value in values)})"


def as_index(name: str, value: Any) -> tuple[int, int, int]:
    """Returns three integers that are not below 0.

    Raises:
      VolumeError: If it is something else.
    """
    try:
        z, y, x = map(operator.index, value)
    except (TypeError, ValueError):
        z, y, x = -1, -1, -1
    if min(z, y, x) < 0:
        raise VolumeError(
            f"The {name} of a region is three integers along (z, y, x), none below 0: got "
            f"{value!r}."
        )
    return z, y, x


def as_shape(values: Iterable[Any]) -> tuple[int, int, int]:
    """Returns three integers."""
    z, y, x = (int(value) for value in values)
    return z, y, x
