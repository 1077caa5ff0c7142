"""Augmentations that move what is seen: flips, rotations, scales, shifts, waves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from kauldron.volumes.augment.base import Augmentation, Range
from kauldron.volumes.augment.moves import Affine, Grid
from kauldron.volumes.augment.splines import Spline
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import per_axis
from kauldron.volumes.transforms.boxes import check_axes

# Rows of the derivative of cubic B-splines sum up to at most 2.48 times the largest shift
# of a control point over their distance: at a quarter, to 0.62. So nothing folds, and
# `index = target - shift(index)` converges.
_LARGEST_SHIFT = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip(Augmentation):
    """Mirrors each axis with probability 1/2.

    Attributes:
      axes: 0, 1, 2 for z, y, x: those that may be mirrored.
    """

    axes: Sequence[int] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_axes("Flip", self.axes)

    def draw(self, rng: np.random.Generator, grid: Grid) -> Affine:
        """Returns the mirrored axes."""
        sign = np.ones(3)
        sign[list(self.axes)] = rng.choice((-1.0, 1.0), len(self.axes))
        return Affine.about(np.diag(sign), grid.center)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permute(Augmentation):
    """Permutes axes at random, of those with one spacing.

    The volume keeps its shape: of an axis that was longer, the middle is seen.

    Attributes:
      axes: 0, 1, 2 for z, y, x: those that may change places.
    """

    axes: Sequence[int] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_axes("Permute", self.axes)

    def draw(self, rng: np.random.Generator, grid: Grid) -> Affine:
        """Returns the permutation."""
        spacing = grid.geometry.spacing_mm
        order = np.arange(3)
        for mm in np.unique(np.round(spacing[list(self.axes)], 3)):
            same = [a for a in self.axes if abs(spacing[a] - mm) < 1e-3]
            order[same] = rng.permutation(same)
        matrix = np.eye(3)[:, order]
        move = Affine.about(matrix, grid.center)
        # Middles of axes of even and odd size lie half a voxel apart.
        return Affine(matrix=matrix, offset=np.floor(move.offset))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotate(Augmentation):
    """Rotates about the middle of the volume, in the world: no spacing distorts it.

    Attributes:
      degrees: Greatest angle about each of (z, y, x), or one for all. Angles are drawn
        evenly on both sides of 0.
      quarter_turns: Instead: the number of turns by 90 degrees about each axis is drawn.
        Exact for equal spacing and shape of the axes that turn.
    """

    degrees: float | Sequence[float] = 15.0
    quarter_turns: bool = False

    def draw(self, rng: np.random.Generator, grid: Grid) -> Affine:
        """Returns the rotation about x, then y, then z."""
        largest = np.radians(per_axis("degrees", self.degrees, float))
        angles = rng.uniform(-1, 1, 3) * largest
        if self.quarter_turns:
            turns = rng.integers(0, 4, 3)
            angles = np.where(largest > 0, turns * (math.pi / 2), 0.0)
        rotation = np.eye(3)
        for axis, angle in enumerate(angles):
            rotation = rotation @ _about_axis(axis, angle)
        # The right-angled frame that is nearest to the axes of the array.
        u, _, v = np.linalg.svd(grid.geometry.direction)
        world = (u @ v) @ rotation @ (u @ v).T
        matrix = np.linalg.solve(grid.geometry.matrix, world @ grid.geometry.matrix)
        return Affine.about(matrix, grid.center)


def _about_axis(axis: int, angle: float) -> np.ndarray:
    """Returns the rotation by an angle in the plane of the two other axes."""
    cos, sin = math.cos(angle), math.sin(angle)
    if abs(cos) < 1e-15:
        cos = 0.0
    first, second = (a for a in range(3) if a != axis)
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = cos
    rotation[first, second], rotation[second, first] = -sin, sin
    return rotation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale(Augmentation):
    """Enlarges what is seen about the middle of the volume.

    Attributes:
      factor: Range; above 1, things get larger. Drawn evenly in its logarithm.
      is_isotropic: Whether one factor holds for all axes.
    """

    factor: Range = (0.9, 1.1)
    is_isotropic: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_range("factor", least=1e-3)

    def draw(self, rng: np.random.Generator, grid: Grid) -> Affine:
        """Returns the scale."""
        low, high = np.log(self.factor)
        factor = np.exp(rng.uniform(low, high, 1 if self.is_isotropic else 3))
        return Affine.about(np.diag(np.ones(3) / factor), grid.center)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translate(Augmentation):
    """Shifts what is seen.

    Attributes:
      max_mm: Greatest shift along each of (z, y, x), or one for all.
    """

    max_mm: float | Sequence[float] = 5.0

    def draw(self, rng: np.random.Generator, grid: Grid) -> Affine:
        """Returns the shift."""
        largest = np.array(per_axis("max_mm", self.max_mm, float))
        shift = rng.uniform(-1, 1, 3) * largest / grid.geometry.spacing_mm
        return Affine(matrix=np.eye(3), offset=-shift)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elastic(Augmentation):
    """Deforms smoothly: control points are shifted, cubic B-splines lie between them.

    Attributes:
      spacing_mm: Distance of control points along (z, y, x), or one for all.
      max_mm: Greatest shift of a control point along each axis. At most a quarter of the
        spacing, so that nothing folds and the way back can be found.
    """

    spacing_mm: float | Sequence[float] = 32.0
    max_mm: float | Sequence[float] = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        spacing = np.array(per_axis("spacing_mm", self.spacing_mm, float))
        largest = np.array(per_axis("max_mm", self.max_mm, float))
        if (largest < 0).any() or (largest > _LARGEST_SHIFT * spacing.min()).any():
            raise VolumeError(
                "`Elastic.max_mm` is at most a quarter of `spacing_mm`, so that nothing "
                f"folds: got max_mm={self.max_mm}, spacing_mm={self.spacing_mm}."
            )

    def draw(self, rng: np.random.Generator, grid: Grid) -> Spline:
        """Returns the shifts of control points over all of the volume."""
        voxel = grid.geometry.spacing_mm
        spacing = np.array(per_axis("spacing_mm", self.spacing_mm, float)) / voxel
        largest = np.array(per_axis("max_mm", self.max_mm, float)) / voxel
        num = np.floor((np.array(grid.shape) - 1) / spacing).astype(int) + 4
        shift = rng.uniform(-1, 1, (3, *num)) * largest[:, None, None, None]
        return Spline(coefficients=shift.astype(np.float32), spacing=spacing)
