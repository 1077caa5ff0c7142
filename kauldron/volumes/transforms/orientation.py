"""Axes that run along the body: which way a volume lies."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import Box, Part, Undo, VolumeTransform, as_shape
from kauldron.volumes.transforms.boxes import Flip, Permute
from kauldron.volumes.transforms.chain import Chain

# Letter -> axis of the world (x, y, z) in LPS, and sign.
_LETTERS = {
    "L": (0, 1), "R": (0, -1),
    "P": (1, 1), "A": (1, -1),
    "S": (2, 1), "I": (2, -1),
}  # fmt: skip


def orientation_of(geometry: Geometry) -> str:
    """Returns where z, y and x of the array lead, such as 'SPL'.

    Of an oblique volume, the letters are those of the nearest right-angled one.
    """
    names = {where: letter for letter, where in _LETTERS.items()}
    return "".join(names[where] for where in _nearest(geometry))


def _nearest(geometry: Geometry) -> list[tuple[int, int]]:
    """Returns world axis and sign of each array axis, all axes of the world once."""
    direction = geometry.direction
    best = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(direction[w, a]) for a, w in enumerate(order)),
    )
    return [(w, 1 if direction[w, a] >= 0 else -1) for a, w in enumerate(best)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reorient(VolumeTransform):
    """Permutes and flips axes so that they lead where they should; mixes no voxels.

    Attributes:
      to: Where z, y and x of the array lead: of Left or Right, Posterior or Anterior,
        Superior or Inferior. `'SPL'` are the axes of the world. Other tools, which
        name axes as x, y, z, call it 'LPS'.
    """

    to: str = "SPL"

    def __post_init__(self) -> None:
        axes = [_LETTERS[letter][0] for letter in self.to if letter in _LETTERS]
        if len(self.to) != 3 or sorted(axes) != [0, 1, 2]:
            raise VolumeError(
                "`Reorient.to` has one letter of L or R, one of P or A, one of S or I, "
                f"in the order of z, y, x: got {self.to!r}."
            )

    @property
    def reach(self) -> Box:
        """A box comes from a box."""
        return Box()

    def steps(self, geometry: Geometry) -> Chain:
        """Returns the permutation and the flips."""
        have = _nearest(geometry)
        order, flips = [], []
        for axis, letter in enumerate(self.to):
            world, sign = _LETTERS[letter]
            source = next(a for a, (w, _) in enumerate(have) if w == world)
            order.append(source)
            if have[source][1] != sign:
                flips.append(axis)
        return Chain([Permute(order=as_shape(order)), Flip(axes=flips)])

    def out_shape(self, shape: Shape, geometry: Geometry) -> tuple[Shape, Geometry]:
        """Returns those of the steps."""
        return self.steps(geometry).out_shape(shape, geometry)

    def source_region(self, region: Region, shape: Shape, geometry: Geometry) -> Region:
        """Returns that of the steps."""
        return self.steps(geometry).source_region(region, shape, geometry)

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the voxels in their new order."""
        return self.steps(part.geometry).compute(part, region)

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns which way the volume lay."""
        del shape
        return {"orientation": orientation_of(geometry)}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the way back to how it lay."""
        return Reorient(to=undo["orientation"])
