"""Dtypes of volumes: which there are, and which hold scaled values exactly."""

from __future__ import annotations

import numpy as np

_INTEGERS = "uint8 int8 uint16 int16 uint32 int32 uint64 int64"


def named(names: str) -> frozenset[np.dtype]:
    """Returns the dtypes of names with spaces between them."""
    return frozenset(map(np.dtype, names.split()))


INTEGERS = named(_INTEGERS)
ALL = named(f"{_INTEGERS} bool float16 float32 float64")


def scaled(
    dtype: np.dtype,
    slope: float,
    intercept: float,
    limits: tuple[int, int] | None = None,
) -> np.dtype:
    """Returns the smallest dtype that holds `slope * stored + intercept` exactly.

    Integers stay integers where slope and intercept are integers.

    Args:
      dtype: As stored.
      slope: Factor.
      intercept: Summand.
      limits: Least and largest stored value; those of the dtype unless given.
    """
    dtype = dtype.newbyteorder("=")
    if slope == 1 and intercept == 0:
        return dtype
    if dtype.kind not in "iu" or not (slope.is_integer() and intercept.is_integer()):
        return np.dtype(np.float64)
    if limits is None:
        limits = np.iinfo(dtype).min, np.iinfo(dtype).max
    ends = sorted(int(slope) * limit + int(intercept) for limit in limits)
    for name in _INTEGERS.split():
        found = np.iinfo(name)
        if found.min <= ends[0] and ends[1] <= found.max:
            return np.dtype(name)
    return np.dtype(np.float64)


def scale(
    array: np.ndarray, slope: float, intercept: float, dtype: np.dtype
) -> np.ndarray:
    """Returns `slope * array + intercept`, in the dtype that `scaled` gave."""
    if slope == 1 and intercept == 0:
        return array
    if dtype.kind in "iu":
        # No stored value leaves the dtype, so wrapped intermediate results come back.
        with np.errstate(over="ignore"):
            factor, summand = (
                np.asarray(int(value)).astype(dtype) for value in (slope, intercept)
            )
            return array.astype(dtype) * factor + summand
    return array.astype(np.float64) * slope + intercept
