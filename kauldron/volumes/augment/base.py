"""What an augmentation is: it draws a move of places, or a change of values."""

from __future__ import annotations

import dataclasses

import numpy as np

from kauldron._base import arguments
from kauldron.volumes.augment.moves import Affine, Grid
from kauldron.volumes.augment.splines import Spline
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import VolumeTransform

# What is drawn: a move of places, or a transform of values.
Drawing = Affine | Spline | VolumeTransform

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation(arguments.NamesArguments):
    """Draws one random change of volumes.

    An augmentation of your own defines `draw`. It returns an `Affine` map from voxels of
    the result to those of the source, a `Spline`, or a `kd.volumes.transforms` transform
    of values that needs no fitting, which is applied to images alone.

    Attributes:
      prob: Probability that it is used at all.
    """

    prob: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise VolumeError(
                f"`{type(self).__name__}.prob` is a probability: got {self.prob}."
            )

    def draw(self, rng: np.random.Generator, grid: Grid) -> Drawing:
        """Returns what happens to one volume.

        Args:
          rng: Belongs to this augmentation, case and copy.
          grid: The volume.
        """
        raise NotImplementedError(f"`{type(self).__name__}.draw` is missing.")

    def _check_range(self, field: str, *, least: float | None = None) -> None:
        """Raises an error unless a field is a range that begins at a bound or above."""
        low, high = getattr(self, field)
        if low <= high and (least is None or low >= least):
            return
        bound = "" if least is None else f", {least:g} <= low"
        raise VolumeError(
            f"`{type(self).__name__}.{field}` is a range (low, high){bound}: got "
            f"{(low, high)}."
        )
