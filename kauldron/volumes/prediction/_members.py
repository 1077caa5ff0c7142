"""Who predicts a case: checkpoints, and augmented copies of the case."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from kauldron.ktyping import PyTree
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.prediction import _parts
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
        """Returns volumes at the place of the case, arrays or `Parts` as they came."""
        if self.drawn is None:
            return predicted
        return jax.tree.map(self._back, predicted)

    def _back(self, volume: Any) -> Any:
        if not isinstance(volume, _parts.Parts):
            return self.drawn.inverse(volume, self.geometry, kind="map")
        moved = functools.partial(_moved, volume, self.drawn.inverted(), self.geometry)
        return dataclasses.replace(volume, read=moved)


def copies(
    augment: Any, case: str, inputs: Inputs, geometry: Geometry
) -> Iterator[Copy]:
    """Yields a case as it is, and its augmented copies: the same each time."""
    yield Copy(inputs, None, geometry)
    if augment is None:
        return
    volume = inputs.volume
    for number in range(augment.copies):
        drawn = augment.draw(0, 0, case, number, volume.shape[:3], geometry)
        read = functools.partial(_moved_inputs, inputs, drawn, geometry)
        moved = _parts.Parts(shape=volume.shape, dtype=volume.dtype, read=read)
        if not isinstance(volume, _parts.Parts):
            moved = moved.read(Region.whole(volume.shape))
        yield Copy(inputs.with_volume(moved), drawn, geometry)


def _moved_inputs(
    inputs: Inputs, drawn: Any, geometry: Geometry, region: Region
) -> np.ndarray:
    """Returns a region of an augmented case, all volumes that the model reads."""
    source = drawn.source_region(region, kind="image")
    moved = [
        drawn.apply(x, geometry, region=region, kind="image", source=source)
        for x in inputs.split(source).values()
    ]
    return np.concatenate(moved, -1).astype(inputs.volume.dtype)


def _moved(
    volume: _parts.Parts, drawn: Any, geometry: Geometry, region: Region
) -> np.ndarray:
    """Returns a region of what a model predicted, moved."""
    source = drawn.source_region(region, kind="map")
    part = volume.read(source)
    return drawn.apply(part, geometry, region=region, kind="map", source=source)
