"""Tensors made of their names: both sides of a comparison make the same ones."""

from __future__ import annotations

import math
import zlib

import numpy as np


def make(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a tensor as a trained model might have it; the same for the same name."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(shape)
    if name.endswith("running_var"):
        values = 0.5 + np.abs(values)
    elif len(shape) < 2:
        values = 0.5 * values + 0.3
    else:
        values /= math.sqrt(math.prod(shape[1:]))
    return values.astype(np.float32)


def make_image(*, size: int, batch_size: int = 2) -> np.ndarray:
    """Returns images `Float["b h w 3"]`."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch_size, size, size, 3), dtype=np.float32)
