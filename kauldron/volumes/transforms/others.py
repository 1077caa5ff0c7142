"""Another group of the case, brought onto the grid of this one."""

from __future__ import annotations

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.transforms.base import Others, other_image
from kauldron.volumes.transforms.sampling import sample, snapped_coordinates


def values_by(image: Image, others: Others, by: str, *, asked_by: str) -> np.ndarray:
    """Returns the nearest voxels of another group at the voxels of a volume.

    It is looked at in the world: its grid may be another one.

    Args:
      image: The volume.
      others: The other groups of the case.
      by: Name of the group.
      asked_by: Name of the transform, for errors.

    Returns:
      `[z y x c]`; 0 outside of the group.
    """
    other = other_image(others, by, asked_by=asked_by)
    if other.shape == image.shape and other.geometry.is_close(image.geometry):
        return other.array
    return nearest_on(other, image.shape, image.geometry)


def mask_by(image: Image, others: Others, by: str, *, asked_by: str) -> np.ndarray:
    """Returns where another group is above 0 in any channel, `bool[z y x]`."""
    values = values_by(image, others, by, asked_by=asked_by)
    return np.any(values > 0, axis=3)


def nearest_on(image: Image, shape: Shape, geometry: Geometry) -> np.ndarray:
    """Returns an image on another grid: the nearest voxels, 0 outside."""
    matrix = np.linalg.solve(image.geometry.matrix, geometry.matrix)
    offset = image.geometry.to_index(geometry.origin)
    return sample(
        image.array,
        snapped_coordinates(matrix, offset),
        Region.whole(shape),
        start=(0, 0, 0),
        shape=image.shape,
        order=0,
        fill=0,
    )
