"""Blend windows: how much each voxel of a patch counts where patches overlap."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kauldron._base import errors
from kauldron.modules.patches import tilings

Blend = str | Callable[[int, int], np.ndarray]


def flat(size: int, overlap: int) -> np.ndarray:
    """Returns ones: the mean of all patches."""
    del overlap
    return np.ones(size)


def cosine(size: int, overlap: int) -> np.ndarray:
    """Returns 1 with ramps `sin(pi/2 * (i + 0.5) / overlap)**2` at both ends.

    Where at most two patches meet, those of neighbours sum up to 1.
    """
    ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
    window = np.ones(size)
    window[:overlap] *= ramp
    window[size - overlap :] *= ramp[::-1]
    return window


def gaussian(size: int, overlap: int) -> np.ndarray:
    """Returns a Gaussian around the middle whose sigma is an eighth of the size."""
    del overlap
    offset = (np.arange(size) - (size - 1) / 2) / (size / 8)
    return np.exp(-(offset**2) / 2)


_BLENDS = {"flat": flat, "cosine": cosine, "gaussian": gaussian}


def axis_windows(blend: Blend, tiles: tilings.Tiles) -> tuple[np.ndarray, ...]:
    """Returns the window of each axis, `f32[size]`; their product is that of a patch.

    Args:
      blend: `'flat'`, `'cosine'`, `'gaussian'`, or a function of size and overlap.
      tiles: The patches.

    Raises:
      PatchError: If there is no such window, or one is not above 0 everywhere.
    """
    if isinstance(blend, str):
        if blend not in _BLENDS:
            raise tilings.PatchError(
                f"There is no blend window {blend!r}."
                f"{errors.did_you_mean(blend, _BLENDS)} `blend` is one of "
                f"{list(_BLENDS)}, or a function of size and overlap."
            )
        blend = _BLENDS[blend]
    sizes = zip(tiles.size, tiles.overlap, strict=True)
    windows = tuple(np.asarray(blend(*axis), np.float32) for axis in sizes)
    for window, size in zip(windows, tiles.size, strict=True):
        # Above 0 in f32, and so are products and sums of them.
        if window.shape != (size,) or not (window >= 1e-9).all():
            raise tilings.PatchError(
                f"A blend window of {size} voxels is above 0 everywhere, so that borders "
                f"have a value: got the shape {window.shape}, minimum {window.min():g}."
            )
    return windows


class Placement(NamedTuple):
    """Where patches lie, and what the windows of those before them sum up to.

    Patches are added in the order of `Tiles.all_starts`. All fields have a leading axis
    of patches.

    Attributes:
      start: `i32[p k]`.
      before: For each axis, sums of the windows of earlier patches along this axis, at
        the voxels of the patch, `f32[p size]`.
      total: The same of all patches along this axis.
    """

    start: Any
    before: tuple[Any, ...]
    total: tuple[Any, ...]


def placements(axes: Sequence[np.ndarray], tiles: tilings.Tiles) -> Placement:
    """Returns the placement of every patch.

    Args:
      axes: The window of each axis.
      tiles: The patches.
    """
    before, total = [], []
    for window, starts, length in zip(axes, tiles.starts, tiles.padded, strict=True):
        sums = np.zeros(length)
        at = [slice(start, start + len(window)) for start in starts]
        earlier = []
        for where in at:
            earlier.append(sums[where].copy())
            sums[where] += window
        before.append(np.array(earlier, np.float32))
        total.append(np.array([sums[where] for where in at], np.float32))
    number = np.indices([len(starts) for starts in tiles.starts])
    number = number.reshape(len(axes), -1)
    return Placement(
        start=tiles.all_starts(),
        before=tuple(x[i] for x, i in zip(before, number, strict=True)),
        total=tuple(x[i] for x, i in zip(total, number, strict=True)),
    )


def window(axes: Sequence[Any]) -> Any:
    """Returns the product of the windows of the axes, `f32[*size 1]`."""
    columns = []
    for i, axis in enumerate(axes):
        shape = [1] * (len(axes) + 1)
        shape[i] = -1
        columns.append(axis.reshape(shape))
    return functools.reduce(operator.mul, columns)


def share(axes: Sequence[Any], placement: Placement) -> Any:
    """Returns the share of a patch in the mean of it and all earlier ones.

    Patches lie on a grid, so that the sum of all earlier windows has one product for each
    axis: earlier along this axis, at the same place along the ones before it, and
    anywhere along the ones behind it.

    Args:
      axes: The window of each axis, `f32[size]`.
      placement: Of one patch.

    Returns:
      `f32[*size 1]`, 1 where the patch is the first.
    """
    own = window(axes)
    earlier = [
        window([*axes[:i], before, *placement.total[i + 1 :]])
        for i, before in enumerate(placement.before)
    ]
    return own / (functools.reduce(operator.add, earlier) + own)
