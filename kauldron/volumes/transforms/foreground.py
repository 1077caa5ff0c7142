"""What is seen and what is not: the box around it, and masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.volumes.geometry.base import Image, Region
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    KINDS,
    Kind,
    Others,
    Part,
    Reach,
    Undo,
    VolumeTransform,
    Whole,
    as_shape,
    grown,
    per_axis,
)
from kauldron.volumes.transforms.boxes import Crop, Pad
from kauldron.volumes.transforms.others import values_by


def chosen(
    values: np.ndarray, above: float, labels: Sequence[int] | None
) -> np.ndarray:
    """Returns where a volume has one of some labels, or is above a number.

    Returns:
      `bool[z y x]`, of any channel.
    """
    found = values > above if labels is None else np.isin(values, list(labels))
    return np.any(found, axis=3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropToForeground(VolumeTransform):
    """Keeps the smallest box around what is seen.

    Groups of a case stay on one grid if all are cropped `by` the same group.

    Attributes:
      above: Foreground is what is greater.
      labels: Instead: foreground is what is one of these.
      by: Group that is looked at, as it is in its file; the volume itself unless given.
        If it has another grid, the nearest of its voxels are looked at.
      margin: Voxels that are kept around the box, along (z, y, x), or one for all.
      fill: What the inverse puts outside of the box.
    """

    above: float = 0.0
    labels: Sequence[int] | None = None
    by: str | None = None
    margin: int | Sequence[int] = 0
    fill: float = 0.0

    @property
    def reach(self) -> Reach:
        """The whole."""
        return Whole()

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """All."""
        return KINDS

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns the crop to the box.

        Raises:
          VolumeError: If there is no foreground.
        """
        values = image.array
        if self.by is not None:
            values = values_by(image, others, self.by, asked_by="CropToForeground")
        foreground = chosen(values, self.above, self.labels)
        if not foreground.any():
            group = "the volume" if self.by is None else f"group {self.by!r}"
            looked = f"above {self.above:g}"
            if self.labels is not None:
                looked = f"of the labels {list(self.labels)}"
            raise VolumeError(
                f"`CropToForeground` finds no foreground: no voxel of {group} is "
                f"{looked}. Values are {values.min()} to {values.max()}."
            )
        bounds = []
        for axis in range(3):
            line = np.any(foreground, axis=tuple({0, 1, 2} - {axis}))
            bounds.append((line.argmax(), len(line) - line[::-1].argmax()))
        box = Region(as_shape([a for a, _ in bounds]), as_shape([b for _, b in bounds]))
        box = grown(box, per_axis("margin", self.margin), image.shape)
        return Crop(start=box.start, size=box.shape, fill=self.fill)

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the padding with `fill`."""
        return Pad(**undo, value=self.fill)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mask(VolumeTransform):
    """Fills the voxels where another group has no foreground.

    Attributes:
      by: The group, as it is in its file.
      above: Foreground is what is greater.
      labels: Instead: foreground is what is one of these.
      fill: Value of the other voxels.
    """

    by: str
    above: float = 0.0
    labels: Sequence[int] | None = None
    fill: float = 0.0

    @property
    def reach(self) -> Reach:
        """The whole: the other group is brought to the grid of this one."""
        return Whole()

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """None: what was filled is lost, and nothing has moved."""
        return ()

    @property
    def has_inverse(self) -> bool:
        """It has none."""
        return False

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns it with the voxels that stay."""
        values = values_by(image, others, self.by, asked_by="Mask")
        return Masked(keep=chosen(values, self.above, self.labels), fill=self.fill)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Masked(VolumeTransform):
    """Fills voxels outside of a mask.

    Attributes:
      keep: `bool[z y x]`, of the volume.
      fill: Value of the other voxels.
    """

    keep: np.ndarray
    fill: float = 0.0

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """None: what was filled is lost, and nothing has moved."""
        return ()

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the region, filled outside of the mask."""
        x = part.cropped(region)
        fill = x.dtype.type(self.fill)
        return np.where(self.keep[region.slices][..., None], x, fill)
