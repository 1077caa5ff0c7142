"""How much of two regions is common: Dice, and how it is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron.ktyping import Array
from kauldron.volumes.metrics import _regions


def dice(
    a: Array,
    b: Array,
    *,
    labels: Sequence[int] | None = None,
    mask: Array | None = None,
) -> Any:
    """Returns the Dice coefficient of two regions, `2 |A and B| / (|A| + |B|)`.

    If both regions are empty, it is NaN; if one is, 0.

    Args:
      a: A region `[z y x]`: true, or not 0, is inside. With `labels`, integers.
      b: Another one of the same shape.
      labels: Measures each of these labels by itself.
      mask: The voxels that count, `[z y x]`; the others are in no region.

    Returns:
      The coefficient; with `labels`, a dict from label to coefficient.

    Raises:
      VolumeError: If the shapes differ, or values are no integers, such as probabilities.
    """
    if labels is None:
        a, b = _regions.as_masks(a, b)
    counts = count_overlap(a, b, [1] if labels is None else labels, mask=mask)
    values = dice_of(counts)
    if labels is None:
        return float(values[0])
    return dict(zip(labels, values.tolist(), strict=True))


def count_overlap(
    a: Array, b: Array, labels: Sequence[int], *, mask: Array | None = None
) -> np.ndarray:
    """Returns voxels in both regions, in the first and in the second, `i64[labels 3]`.

    Args:
      a: Labels of any integer dtype, or bool.
      b: Labels of the same shape.
      labels: Which ones are counted.
      mask: The voxels that count.

    Raises:
      VolumeError: If the shapes differ.
    """
    a, b = _regions.as_label_pair(a, b)
    if mask is not None:
        mask = _regions.as_masks(np.reshape(mask, a.shape), a)[0]
        a, b = a[mask], b[mask]
    counts = np.zeros((len(labels), 3), np.int64)
    for row, label in zip(counts, labels, strict=True):
        in_a, in_b = a == label, b == label
        row[:] = [np.count_nonzero(x) for x in (in_a & in_b, in_a, in_b)]
    return counts


def dice_of(counts: np.ndarray) -> np.ndarray:
    """Returns the coefficients of counts `[labels 3]`; NaN where both are empty."""
    both, in_a, in_b = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    whole = in_a + in_b
    nothing = np.full(whole.shape, np.nan)
    return np.divide(2 * both, whole, out=nothing, where=whole > 0)
