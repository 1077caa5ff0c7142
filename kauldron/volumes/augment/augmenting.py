"""Random changes of cases, drawn once per (seed, epoch, case, copy)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from kauldron._base import arguments
from kauldron.volumes.augment.base import Augmentation
from kauldron.volumes.augment.drawn import Drawn
from kauldron.volumes.augment.moves import Affine, Grid, PlaceMap
from kauldron.volumes.augment.splines import Spline
from kauldron.volumes.geometry.base import Geometry, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import VolumeTransform
from kauldron.volumes.transforms.sampling import check_order


@dataclasses.dataclass(frozen=True)
class Augment(arguments.NamesArguments):
    """Changes cases at random, the same way for all groups and patches of a case.

    All moves of places become one map, so that voxels are interpolated once: first the
    linear ones in their order, then a deformation. Changes of values follow, in their
    order.

    Attributes:
      augmentations: What may happen.
      copies: How many versions of a case an epoch has.
      prob: Probability that a copy is changed at all.
      order: Of interpolation of everything but labels: 0, 1 or 3.
      fill: Value of images and maps where the volume does not reach; the nearest voxel's
        if it is `None`. Labels and vectors are 0 there.
    """

    augmentations: Sequence[Augmentation] = ()
    _: dataclasses.KW_ONLY
    copies: int = 1
    prob: float = 1.0
    order: int = 1
    fill: float | None = 0.0

    def __post_init__(self) -> None:
        check_order(self.order)
        if self.copies < 1:
            raise VolumeError(f"`Augment.copies` is >= 1: got {self.copies}.")
        if not 0 <= self.prob <= 1:
            raise VolumeError(f"`Augment.prob` is a probability: got {self.prob}.")

    def draw(
        self,
        seed: int,
        epoch: int,
        case: str,
        copy: int,
        shape: Shape,
        geometry: Geometry,
    ) -> Drawn:
        """Returns what happens to a copy of a case: the same in every process.

        Args:
          seed: Of the run.
          epoch: Counts from 0.
          case: Its name.
          copy: Counts from 0.
          shape: Number of voxels along (z, y, x).
          geometry: Where they are.
        """
        grid = Grid(shape=shape, geometry=geometry)
        affine = Affine(matrix=np.eye(3), offset=np.zeros(3))
        spline: Spline | None = None
        filters: list[VolumeTransform] = []
        for drawing in self._drawings((seed, epoch, case, copy), grid):
            if isinstance(drawing, Affine):
                affine = affine.after(drawing)
            elif isinstance(drawing, VolumeTransform):
                filters.append(drawing)
            elif spline is not None:
                raise VolumeError(
                    "`Augment` has two elastic deformations: one of them suffices."
                )
            else:
                spline = drawing
        return Drawn(
            grid=grid,
            places=PlaceMap(affine=affine, spline=spline),
            filters=tuple(filters),
            order=self.order,
            fill=self.fill,
        )

    def _drawings(self, key: tuple[int, int, str, int], grid: Grid) -> list:
        """Returns what is drawn, by a stream of numbers for each augmentation."""
        seed, epoch, case, copy = key
        digest = hashlib.sha256(case.encode()).digest()
        words = np.frombuffer(digest, "<u4").tolist()
        entropy = [seed, epoch, copy, *words]

        def stream(index: int) -> np.random.Generator:
            sequence = np.random.SeedSequence(entropy, spawn_key=(index,))
            return np.random.default_rng(sequence)

        if stream(0).random() >= self.prob:
            return []
        found = []
        for i, augmentation in enumerate(self.augmentations):
            rng = stream(i + 1)
            if rng.random() < augmentation.prob:
                found.append(augmentation.draw(rng, grid))
        return found
