"""Where patches lie: starts along each axis, free axes, borders."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from kauldron._base import errors

Size = int | Sequence[int | None]
Overlap = float | Sequence[float]
Border = Literal["shift", "pad"]


class PatchError(errors.UserError, ValueError):
    """Patches that cannot be cut, or not be put together again."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The patches of an array of one shape.

    Attributes:
      shape: Of the array, spatial axes only.
      size: Of each patch.
      overlap: Voxels that neighbours share, away from the last border.
      starts: `i32[n]` for each axis, ascending.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    overlap: tuple[int, ...]
    starts: tuple[np.ndarray, ...]

    @property
    def padded(self) -> tuple[int, ...]:
        """Shape of what the patches cover; what exceeds the array is padding."""
        return tuple(
            max(n, int(starts[-1]) + size)
            for n, starts, size in zip(self.shape, self.starts, self.size, strict=True)
        )

    @property
    def num_patches(self) -> int:
        return math.prod(len(starts) for starts in self.starts)

    def all_starts(self) -> np.ndarray:
        """Starts of all patches, `i32[p k]`; those of the last axis change fastest."""
        return np.array(list(itertools.product(*self.starts)), np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
    """How arrays are cut into patches of one size.

    Patch `i` of an axis starts at `i * (size - overlap)`, until the end is covered. An
    axis shorter than a patch has one patch, padded at its end.

    Attributes:
      size: Of a patch, one for each axis; `None` is a free axis, taken as a whole. One
        number needs `num_axes`.
      overlap: What neighbours share: a fraction of the size (float, below 1), or voxels
        (int, below the size); one, or one for each axis. Free axes have none.
      border: `'shift'` moves the last patch back inside, `'pad'` leaves it where it is
        and pads what lies outside.
      multiple: Free axes are padded to multiples of it, as strided models need.
      num_axes: Number of axes of a size that is one number.

    Raises:
      PatchError: If they don't fit together.
    """

    size: Size
    overlap: Overlap = 0.5
    border: Border = "shift"
    multiple: int = 1
    num_axes: int = 3

    def __post_init__(self) -> None:
        if self.border not in ("shift", "pad"):
            raise PatchError(
                f"`border` is 'shift' or 'pad': got {self.border!r}."
                + errors.did_you_mean(str(self.border), ["shift", "pad"])
            )
        check_number("multiple", self.multiple)
        for size, overlap in zip(self.sizes, self.overlaps, strict=True):
            _check_axis(size, overlap)

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The size along each axis."""
        if isinstance(self.size, int | np.integer):
            return (int(self.size),) * self.num_axes
        if self.size is None or isinstance(self.size, float | np.floating | str):
            raise PatchError(
                "The size of a patch is a positive number of voxels, or one along each "
                f"axis, with None for a whole axis: got {self.size!r}."
            )
        return tuple(self.size)

    @property
    def overlaps(self) -> tuple[float, ...]:
        """The overlap along each axis, as it was given."""
        num_axes = len(self.sizes)
        if isinstance(self.overlap, int | float | np.number):
            return (self.overlap,) * num_axes
        if not isinstance(self.overlap, Sequence) or len(self.overlap) != num_axes:
            raise PatchError(
                f"`overlap` is one number, or one for each of {num_axes} axes of the "
                f"patch {self.sizes}: got {self.overlap!r}."
            )
        return tuple(self.overlap)

    def tiles(self, shape: Sequence[int]) -> Tiles:
        """Returns the patches of an array.

        Args:
          shape: Of its spatial axes.

        Raises:
          PatchError: If it has other axes, or none of some axis.
        """
        shape = tuple(int(n) for n in shape)
        if len(shape) != len(self.sizes) or min(shape) < 1:
            raise PatchError(
                f"Patches of size {self.sizes} are cut from arrays with "
                f"{len(self.sizes)} spatial axes: got the shape {shape}."
            )
        sizes, overlaps, starts = [], [], []
        for n, size, overlap in zip(shape, self.sizes, self.overlaps, strict=True):
            if size is None:
                size, overlap = -(-n // self.multiple) * self.multiple, 0
            voxels = _voxels(size, overlap)
            sizes.append(size)
            overlaps.append(voxels)
            starts.append(_starts(n, size, size - voxels, self.border))
        return Tiles(shape, tuple(sizes), tuple(overlaps), tuple(starts))


def check_number(name: str, value: Any) -> None:
    """Raises `PatchError` unless a value is a positive integer."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise PatchError(f"`{name}` is a positive integer: got {value!r}.")


def _check_axis(size: Any, overlap: Any) -> None:
    if size is None:
        return
    if not np.isfinite(size) or size != int(size) or size < 1:
        raise PatchError(
            f"The size of a patch is a positive number of voxels, or None for a whole "
            f"axis: got {size!r}."
        )
    if overlap < 0 or overlap >= (1 if _is_fraction(overlap) else size):
        kind = "fraction in [0, 1)" if _is_fraction(overlap) else "number of voxels"
        raise PatchError(
            f"Patches must advance: an overlap that is a {kind} lies below the size of "
            f"the patch: got overlap={overlap!r} for the size {size}."
        )


def _is_fraction(overlap: Any) -> bool:
    return not isinstance(overlap, int | np.integer)


def _voxels(size: int, overlap: float) -> int:
    if not _is_fraction(overlap):
        return int(overlap)
    # 10 * (1 - 0.9) is 0.99..: without the margin, a patch would not advance.
    return size - max(1, int(size * (1 - overlap) + 1e-6))


def _starts(n: int, size: int, step: int, border: Border) -> np.ndarray:
    num = 1 + max(0, -(-(n - size) // step))
    starts = step * np.arange(num, dtype=np.int32)
    if border == "shift":
        starts = np.minimum(starts, max(0, n - size))
    return starts.astype(np.int32)
