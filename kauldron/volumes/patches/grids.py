"""Which patches of a case are taken, and how one is read: grids and random ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kauldron.modules.patches import slices, tilings
from kauldron.volumes.geometry.base import Region


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patches:
    """Base of what says which patches are taken: their size, padding and context.

    Attributes:
      size: Along (z, y, x); `None` is a free axis, taken as a whole. One number for all.
      pad: Value of what lies outside of the volume.
      context_slices: 2.5-D: single slices (size 1 along z) get this many neighbours
        stacked into their channels; half of them, rounded down, lie below. Beyond the
        ends they are reflected. For inputs, not for targets.
    """

    size: tilings.Size
    pad: float = 0.0
    context_slices: int = 0

    def __post_init__(self) -> None:
        if len(self._tiling.sizes) != 3:
            raise tilings.PatchError(
                f"A patch has a size along (z, y, x): got {self.size!r}."
            )
        slices.check_context(self.size, self.context_slices)

    @property
    def _tiling(self) -> tilings.Tiling:
        return tilings.Tiling(size=self.size, overlap=0)

    def patch_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the size of the patches of a volume; free axes take its size."""
        return self._tiling.tiles(shape[:3]).size

    def source_region(
        self, start: Any, shape: tuple[int, ...], *, has_context: bool = True
    ) -> Region:
        """Returns what must be read for the patch at a start.

        Args:
          start: Along (z, y, x).
          shape: Of the volume.
          has_context: Whether neighbours are read, for inputs.
        """
        size = self.patch_size(shape)
        low = [int(a) for a in start]
        high = [min(a + b, n) for a, b, n in zip(low, size, shape[:3], strict=True)]
        if has_context and self.context_slices:
            around = self._around(low[0], shape)
            low[0], high[0] = int(around.min()), int(around.max()) + 1
        return Region((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def patch(
        self,
        array: np.ndarray,
        start: Any,
        shape: tuple[int, ...],
        *,
        has_context: bool = True,
    ) -> np.ndarray:
        """Returns a patch, `[*size c]`, of what `source_region` says, `[z y x c]`."""
        size = self.patch_size(shape)
        if has_context and self.context_slices:
            around = self._around(int(start[0]), shape)
            chosen = np.asarray(array)[around - around.min()]
            array = np.concatenate(list(chosen[:, None]), axis=-1)
        widths = [(0, n - have) for n, have in zip(size, array.shape[:3], strict=True)]
        if any(width for _, width in widths):
            array = np.pad(
                array, [*widths, (0, 0)], constant_values=np.asarray(self.pad)
            )
        return array

    def _around(self, z: int, shape: tuple[int, ...]) -> np.ndarray:
        return slices.neighbours(shape[0], self.context_slices)[z]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchGrid(Patches):
    """All patches of a grid, so that every voxel of a case is seen.

    Patch `i` of an axis starts at `i * (size - overlap)`, until the end is covered. An
    axis that is shorter than a patch has one, which is padded.

    Attributes:
      overlap: A fraction of the size (float, below 1), or voxels (int); one, or one along
        each of (z, y, x).
      border: `'shift'` moves the last patch of an axis back inside; `'pad'` fills it up.

    Example:

    ```python
    grid = kd.volumes.PatchGrid(size=(64, 64, 64), overlap=16)
    starts = grid.starts((100, 64, 64))  # [[0, 0, 0], [36, 0, 0]]
    ```
    """

    overlap: tilings.Overlap = 0.0
    border: tilings.Border = "shift"

    @property
    def _tiling(self) -> tilings.Tiling:
        return tilings.Tiling(size=self.size, overlap=self.overlap, border=self.border)

    def starts(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the starts of the patches of a volume, `i32[n 3]`, z slowest."""
        return self._tiling.tiles(shape[:3]).all_starts()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomPatch(Patches):
    """Patches at random places, some of them around a voxel of the foreground.

    Attributes:
      foreground_prob: Probability that a patch holds a voxel of the foreground, drawn
        uniformly, at a place in the patch that is drawn uniformly.
      by: Group that says what foreground is, such as `"seg"`: its voxels above 0.
    """

    foreground_prob: float = 0.0
    by: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (
            isinstance(self.foreground_prob, int | float)
            and 0 <= self.foreground_prob <= 1
        ):
            raise tilings.PatchError(
                f"`foreground_prob` is a probability: got {self.foreground_prob!r}."
            )
        if self.foreground_prob and self.by is None:
            raise tilings.PatchError(
                "`foreground_prob` needs `by`, the group that says where the foreground "
                "is, such as by='seg'."
            )

    def start(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        foreground: np.ndarray | None = None,
    ) -> np.ndarray:
        """Returns the start of a patch, `i32[3]`, inside of the volume.

        Args:
          rng: Says where; three numbers are drawn, or five with a foreground.
          shape: Of the volume.
          foreground: Flat indices of the voxels of the foreground, such as
            `np.flatnonzero(seg > 0)`; without any, patches are drawn from everywhere.
        """
        size = np.array(self.patch_size(shape))
        last = np.maximum(np.array(shape[:3]) - size, 0)
        place = rng.random(3)
        start = np.floor(place * (last + 1))
        if self.foreground_prob:
            is_foreground, which = rng.random(2)
            voxels = () if foreground is None else foreground
            if len(voxels) and is_foreground < self.foreground_prob:
                voxel = voxels[int(which * len(voxels))]
                around = np.array(np.unravel_index(voxel, shape[:3]))
                start = around - np.floor(place * size)
        return np.clip(start, 0, last).astype(np.int32)
