"""Checks that a measured value is a number."""

from __future__ import annotations

import numpy as np

from kauldron._base import errors


class NotANumberError(errors.UserError, TypeError):
    """A metric, loss or schedule returns something that is not a number."""


def to_numbers(name: str, value: object) -> np.ndarray:
    """Returns an array of numbers.

    Raises:
      NotANumberError: A `TypeError`: it is not an array of numbers.
    """
    array = np.asarray(value)
    if array.dtype.kind in "fiub":
        return array
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its kin
        return array.astype(np.float32)
    raise NotANumberError(
        f"{name!r} is no number: got {type(value).__name__}, shape {array.shape}, dtype "
        f"{array.dtype}. A metric computes numbers or a dict of them; something to look "
        "at is a summary."
    )
