"""Who predicts a case: checkpoints, and augmented copies of the case."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from kauldron.ktyping import PyTree
from kauldron.volumes.geometry.base import Geometry
from kauldron.volumes.prediction._patch_network import Inputs


@dataclasses.dataclass(frozen=True)
class Copy:
    """A case as a model sees it, and the way back.

    Attributes:
      inputs: What the model reads.
      drawn: How it was augmented; `None` for the case as it is.
      geometry: Of the case.
    """

    inputs: Inputs
    drawn: Any
    geometry: Geometry

    def back(self, predicted: PyTree) -> PyTree:
        """Returns volumes at the place of the case."""
        if self.drawn is None:
            return predicted
        return jax.tree.map(
            lambda x: self.drawn.inverse(x, self.geometry, kind="map"), predicted
        )


def copies(
    augment: Any, case: str, inputs: Inputs, geometry: Geometry
) -> Iterator[Copy]:
    """Yields a case as it is, and its augmented copies: the same each time."""
    yield Copy(inputs, None, geometry)
    if augment is None:
        return
    shape = inputs.volume.shape[:3]
    for number in range(augment.copies):
        drawn = augment.draw(0, 0, case, number, shape, geometry)
        moved = [
            drawn.apply(x, geometry, kind="image").astype(x.dtype)
            for x in inputs.split().values()
        ]
        yield Copy(inputs.with_volume(np.concatenate(moved, -1)), drawn, geometry)
