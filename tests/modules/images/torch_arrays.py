"""Random arrays that are a function of a name and a shape: fixtures hold outputs only."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

# Of the inputs of each case, with channels in front.
_SHAPES = {
    "conv1d": [(2, 2, 9)],
    "conv2d": [(2, 4, 5, 6)],
    "conv3d": [(1, 2, 4, 5, 6)],
    "transposed1d": [(2, 2, 5)],
    "transposed2d": [(2, 2, 3, 4)],
    "transposed3d": [(1, 2, 2, 3, 2)],
    "instance": [(2, 4, 3, 5)],
    "group": [(2, 4, 3, 5)],
    "batch": [(2, 4, 3, 5)],
    "nearest": [(1, 2, 2, 3)],
    "linear": [(1, 2, 2, 3)],
    "basic": [(2, 4, 4, 6)],
    "bottleneck": [(2, 4, 4, 6)],
    "squeezed": [(1, 4, 4, 6)],
    "gate": [(2, 2, 4, 4), (2, 3, 4, 4)],
    "monai2d": [(1, 2, 8, 12)],
    "monai3d": [(1, 1, 4, 6, 4)],
    "plain1d": [(1, 2, 16)],
    "residual2d": [(1, 2, 8, 12)],
    "residual3d": [(1, 2, 4, 8, 8)],
    "nested": [(1, 1, 32, 48)],
    "patches": [(2, 2, 16, 20)],
    "mixer": [(2, 2, 8, 8)],
    "warp": [(2, 2, 4, 5), (2, 2, 4, 5)],
}


def inputs_of(name: str) -> list[np.ndarray]:
    """Returns the inputs of a case, with channels in front."""
    return [array(f"input{i}", shape) for i, shape in enumerate(_SHAPES[name])]


def array(name: str, shape: Sequence[int]) -> np.ndarray:
    """Returns the parameter, buffer or input of that name, in PyTorch's layout."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x = rng.standard_normal(tuple(shape)).astype(np.float32)
    if name.startswith("input"):
        return x
    if name.endswith("running_var"):
        return 1 + np.abs(x)
    if name.endswith("A.weight"):  # the slope of a PReLU
        return 0.25 + 0.1 * x
    if name.endswith("weight") and x.ndim == 1:
        return 1 + 0.2 * x
    if name.endswith("weight"):
        return x / np.sqrt(np.prod(x.shape[1:]))
    return 0.2 * x
