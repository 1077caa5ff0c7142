"""Small cases on disk, for tests."""

from __future__ import annotations

import pathlib

import numpy as np

SHAPE = (6, 7, 8)


def write_case(folder: pathlib.Path, number: int = 0, *, shape=SHAPE, **groups):
    """Writes `ct.npy`, whose voxels say where they are, and `seg.npy` with labels 0 to 2."""
    folder.mkdir(parents=True)
    size = int(np.prod(shape))
    usual = {
        "ct": (np.arange(size).reshape(shape) + 10_000 * number).astype(np.float32),
        "seg": (np.arange(size).reshape(shape) % 3).astype(np.uint8),
    }
    for name, array in (usual | groups).items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)


def write_cases(root: pathlib.Path, num: int = 6, **options) -> pathlib.Path:
    """Writes `case_0`, `case_1`, ... and returns the root."""
    for number in range(num):
        write_case(root / f"case_{number}", number, **options)
    return root
