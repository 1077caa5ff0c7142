"""Regions as arrays of bool: their box, their surface, the step from voxel to voxel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kauldron.ktyping import Array
from kauldron.volumes.geometry.errors import VolumeError


def as_pair(a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns two arrays of one shape, without the axis of a single channel.

    Raises:
      VolumeError: If the shapes differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise VolumeError(
            f"Compared are arrays of the same shape: got {a.shape} and {b.shape}. "
            "Resample one to the grid of the other."
        )
    if a.ndim == 4 and a.shape[-1] == 1:
        return a[..., 0], b[..., 0]
    return a, b


def as_label_pair(a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns `as_pair` of arrays whose values are integers, of any dtype.

    Raises:
      VolumeError: If the shapes differ, or values are no integers.
    """
    a, b = as_pair(a, b)
    for x in (a, b):
        if x.dtype.kind == "f" and not (np.isfinite(x) & (x == np.rint(x))).all():
            raise VolumeError(
                "Compared are masks or labels, not probabilities: got a value such as "
                f"{x[~(np.isfinite(x) & (x == np.rint(x)))][0]:g}. Compare "
                "`probabilities > 0.5`, or the label of the highest."
            )
    return a, b


def as_masks(a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns where two arrays of one shape are not 0, `bool`.

    Raises:
      VolumeError: If the shapes differ, or values are no integers.
    """
    a, b = as_label_pair(a, b)
    a, b = (x if x.dtype == bool else x != 0 for x in (a, b))
    return a, b


def of_labels(
    a: Array, b: Array, labels: Sequence[int]
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    """Yields each label with its two regions, `bool`."""
    a, b = as_label_pair(a, b)
    for label in labels:
        yield label, (np.equal(a, label), np.equal(b, label))


def steps_of(spacing_mm: Any, ndim: int) -> np.ndarray:
    """Returns the steps along the axes as columns, in mm, `f64[ndim ndim]`.

    Raises:
      VolumeError: If the spacing is not above 0, or has another number of axes.
    """
    spacing = np.asarray(spacing_mm, np.float64)
    if spacing.ndim < 2 and spacing.size in (1, ndim):
        steps = np.diag(np.broadcast_to(spacing.ravel(), (ndim,)))
        is_valid = bool((np.diag(steps) > 0).all() and np.isfinite(steps).all())
    else:
        steps = spacing
        is_valid = spacing.shape == (ndim, ndim) and bool(np.isfinite(spacing).all())
        is_valid = is_valid and abs(np.linalg.det(spacing)) > 0
    if not is_valid:
        raise VolumeError(
            f"`spacing_mm` is a number above 0, one for each of the {ndim} axes, or the "
            f"matrix of a geometry: got {spacing_mm!r}."
        )
    return steps


def box_of(mask: np.ndarray) -> tuple[slice, ...]:
    """Returns the smallest box that holds a region, which is not empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(i for i in range(mask.ndim) if i != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
        mask = mask[(slice(None),) * axis + (box[-1],)]  # the rest has less to look at
    return tuple(box)


def surface_of(mask: np.ndarray) -> np.ndarray:
    """Returns the voxels of a region with a face neighbour outside, `bool`.

    Beyond the array is outside.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        before = (slice(None),) * axis
        low, high = (*before, slice(None, -1)), (*before, slice(1, None))
        inner[low] &= mask[high]
        inner[high] &= mask[low]
        inner[(*before, 0)] = False
        inner[(*before, -1)] = False
    return mask & ~inner
