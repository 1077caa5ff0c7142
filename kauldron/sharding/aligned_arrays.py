"""Arrays that JAX takes as they are on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# XLA reads an array of NumPy in place if it begins at such an address, and copies others.
_ALIGNMENT = 64


def empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Returns an array of any values, which nobody may change once JAX has it."""
    dtype = np.dtype(dtype)
    if dtype.hasobject:  # which JAX refuses, and memory without objects cannot hold
        return np.empty(shape, dtype)
    memory = np.empty(math.prod(shape) * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return np.ndarray(shape, dtype, memory, start)


def copy(x: np.ndarray) -> np.ndarray:
    """Returns the same values in memory that nobody else writes to."""
    result = empty(x.shape, x.dtype)
    result[...] = x
    return result
