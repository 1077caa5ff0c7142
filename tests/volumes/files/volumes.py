"""Volumes that files are tested with."""

from __future__ import annotations

import numpy as np

from kauldron.kd import volumes

# The direction of an oblique scan: a rotation by 30, 20 and 10 degrees.
_OBLIQUE = np.array(
    [
        [0.8137976813493737, -0.44096961052988237, 0.3785223063697926],
        [0.46984631039295416, 0.8825641192593856, 0.01802831123629725],
        [-0.3420201433256687, 0.16317591116653482, 0.9254165783983235],
    ]
)
STRAIGHT = volumes.Geometry.make((2.0, 0.75, 0.5), (-10.5, 20.25, 300.0))
# The x axis is mirrored: such axes are left-handed.
FLIPPED = volumes.Geometry.make(
    (2.0, 0.75, 0.5), (90.0, -126.0, -72.0), [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
)
OBLIQUE = volumes.Geometry.make(
    (3.3, 0.7, 0.9), (-123.4567, 98.7654, -1234.5678), _OBLIQUE[:, ::-1]
)
# The step from slice to slice is not along the normal: a tilted gantry.
TILTED = volumes.Geometry(
    matrix=np.array([[0.0, 0.0, 0.9], [0.6, 0.8, 0.0], [4.0, 0.0, 0.0]]),
    origin=np.array([-100.0, -50.0, 20.0]),
)
SHEARED = volumes.Geometry(
    matrix=np.array([[0.1, 0.2, 0.9], [0.0, 0.8, 0.1], [2.0, 0.0, -0.3]]),
    origin=np.array([5.0, 6.0, 7.0]),
)
GEOMETRIES = {
    "straight": STRAIGHT,
    "flipped": FLIPPED,
    "oblique": OBLIQUE,
    "tilted": TILTED,
    "sheared": SHEARED,
}


def random_array(shape, dtype="int16", num_channels=1):
    """Returns values all over the range of a dtype, each seed the same."""
    rng = np.random.default_rng(0)
    dtype = np.dtype(dtype)
    shape = (*shape, num_channels)
    if dtype.kind == "b":
        return rng.random(shape) > 0.5
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def farthest_mm(a, b, shape):
    """Returns the largest distance of the corners of two geometries."""
    ends = np.stack(np.meshgrid(*[(0, size - 1) for size in shape]), -1).reshape(-1, 3)
    return np.linalg.norm(a.to_world(ends) - b.to_world(ends), axis=-1).max()
