"""Range checks of dtypes: a value that a cast would change is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kauldron.data import _errors


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is float, also one of `ml_dtypes` such as bfloat16."""
    return dtype.kind == "f" or (dtype.kind == "V" and "float" in dtype.name)


def real(owner: str, value: object) -> np.ndarray:
    """Returns an array of bools, ints or floats.

    Raises:
      DataError: If it holds something else, such as texts.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and not is_float(array.dtype):
        first = array.ravel()[0] if array.size else None
        is_text = isinstance(first, str | bytes)
        what = "texts" if is_text else f"{array.dtype} values"
        raise _errors.DataError(
            f"{owner} works on numbers: got {what}, {value!r:.60}. Name other keys, or "
            "make numbers of them first with `kd.data.Cast`."
        )
    return array


def cast(owner: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Returns the values in another dtype; fractions are cut off for integers.

    Raises:
      DataError: If a value does not fit: too large, NaN for an integer, complex.
    """
    if array.dtype == dtype or dtype.kind not in "biufV" or array.dtype.kind in "OUSM":
        return array.astype(dtype)  # texts that are not numbers: NumPy says so
    if array.dtype.kind == "c":
        raise _errors.DataError(
            f"{owner}: {array.dtype} has imaginary parts, {dtype} has none. Take the "
            "real part first."
        )
    if dtype.kind in "iu":
        _check_range(owner, array, dtype)
        return array.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        changed = array.astype(dtype)
    if is_float(dtype) and _may_overflow(array.dtype, dtype):
        lost = np.isfinite(array) & ~np.isfinite(changed)
        if lost.any():
            raise _does_not_fit(owner, array[lost].ravel()[0], array.dtype, dtype)
    return changed


def fill_value(owner: str, name: str, value: Any, dtype: np.dtype) -> Any:
    """Returns a value that is put among others, in their dtype.

    Raises:
      DataError: If the dtype does not hold it exactly (floats: up to rounding).
    """
    problem = _errors.DataError(
        f"{owner}: `{name}={value!r}` is no value of {dtype}. Choose another one, or "
        "change the dtype first with `kd.data.Cast`."
    )
    if dtype.kind in "iub":
        bounds = np.iinfo(dtype) if dtype.kind != "b" else None
        low, high = (bounds.min, bounds.max) if bounds else (0, 1)
        if not low <= value <= high or value != int(value):
            raise problem
        return dtype.type(int(value))
    if not is_float(dtype):
        raise problem
    with np.errstate(over="ignore"):
        filled = np.asarray(value, np.float64).astype(dtype)[()]
    if math.isfinite(value) and not np.isfinite(filled):
        raise problem
    return filled


def _check_range(owner: str, array: np.ndarray, dtype: np.dtype) -> None:
    if array.dtype.kind == "b" or np.can_cast(array.dtype, dtype) or not array.size:
        return
    bounds = np.iinfo(dtype)
    if array.dtype.kind in "iu":
        is_inside = array.min() >= bounds.min and array.max() <= bounds.max
    else:
        # Cut off towards zero: -0.5 becomes 0. The bound above is exact in f64.
        low, high = float(bounds.min) - 1, float(int(bounds.max) + 1)
        wide = array.astype(np.float64)
        if low == bounds.min:  # int64, where one less is not a float
            low = np.nextafter(float(bounds.min), -np.inf)
        is_inside = wide.min() > low and wide.max() < high  # not for NaN
    if not is_inside:
        worst = _first_outside(array, bounds)
        raise _does_not_fit(owner, worst, array.dtype, dtype)


def _first_outside(array: np.ndarray, bounds: Any) -> Any:
    flat = array.ravel()
    values = flat if array.dtype.kind in "iu" else np.trunc(flat.astype(np.float64))
    inside = (values >= bounds.min) & (values <= bounds.max)
    if array.dtype.kind not in "iu":
        inside &= values < float(int(bounds.max) + 1)
    return flat[int(np.argmin(inside))]


def _may_overflow(old: np.dtype, new: np.dtype) -> bool:
    if old.kind == "b" or np.can_cast(old, new):
        return False
    # bf16 reaches as far as f32, and integers not as far.
    is_wide = new.itemsize >= 4 or new.name == "bfloat16"
    return not (is_wide and (old.kind in "iu" or old.itemsize < 4))


def _does_not_fit(
    owner: str, value: object, old: np.dtype, new: np.dtype
) -> _errors.DataError:
    return _errors.DataError(
        f"{owner}: {value} ({old}) does not fit into {new}. Use a wider dtype, or clip "
        "the values first."
    )
