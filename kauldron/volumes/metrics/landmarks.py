"""Target registration error: how far landmarks are from where they should be."""

from __future__ import annotations

import numpy as np

from kauldron.ktyping import Array
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.metrics import _regions
from kauldron.volumes.metrics.surfaces import Spacing


def tre(a: Array, b: Array, *, spacing_mm: Spacing = 1.0) -> float:
    """Returns the target registration error: the mean distance of landmarks, in mm.

    Landmarks that are NaN in either are left out; it is NaN without any.

    Args:
      a: Landmarks, `f[n 3]`: points of the world in mm (in any order of the axes), or
        indices (z, y, x), with the spacing.
      b: Where they should be, in the same order.
      spacing_mm: For indices: the distance of neighbours along (z, y, x), one number for
        all, or the matrix of a `Geometry`.

    Raises:
      VolumeError: If these are not as many points, or the spacing is not one.

    Reference: Fitzpatrick, West 2001, The distribution of target registration error in
      rigid-body point-based registration.
    """
    distances = landmark_distances(a, b, spacing_mm=spacing_mm)
    distances = distances[~np.isnan(distances)]
    return float(distances.mean()) if distances.size else np.nan


def landmark_distances(a: Array, b: Array, *, spacing_mm: Spacing = 1.0) -> np.ndarray:
    """Returns the distance of each landmark, `f64[n]`; NaN where it is missing.

    Raises:
      VolumeError: If these are not as many points, or the spacing is not one.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise VolumeError(
            "Landmarks are `f[n 3]`, as many in both, in the same order: got shapes "
            f"{a.shape} and {b.shape}."
        )
    steps = _regions.steps_of(spacing_mm, a.shape[1])
    return np.linalg.norm((a - b) @ steps.T, axis=1)
