"""Weight-only int8: kernels with one scale per output channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.export._named_leaves import NamedLeaves
from kauldron.ktyping import Array

_MAX = 127
_SCALE = ".scale"


def encode(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the weights with kernels in int8, each with its scale beside it.

    A kernel is a floating parameter of that name with two axes or more; its last axis are
    the output channels. `w ~ int8 * scale`, `scale = max|w| / 127` of each channel.

    Args:
      weights: Name -> array.
    """
    stored: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        if not _is_kernel(name, array):
            stored[name] = array
            continue
        values = np.asarray(array, np.float32)
        scale = np.abs(values).max(tuple(range(values.ndim - 1))) / np.float32(_MAX)
        divisor = np.where(scale > 0, scale, np.float32(1))
        stored[name] = np.rint(values / divisor).astype(np.int8)
        stored[name + _SCALE] = scale
    return stored


def decode(weights: Mapping[str, Array], leaves: NamedLeaves) -> dict[str, Array]:
    """Returns the weights in the dtypes of the model, inside of the program."""
    return {
        name: _decode(weights[name], weights[name + _SCALE], spec)
        if weights[name].dtype == jnp.int8 and spec.dtype != jnp.int8
        else weights[name]
        for name, spec in leaves.kept_specs.items()
    }


def quantized_names(stored: Mapping[str, Any]) -> list[str]:
    """Returns which of the stored weights are in int8 beside a scale."""
    return [name for name in stored if name + _SCALE in stored]


def bytes_in_full_precision(stored: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Returns the sizes of the weights that are stored as they are, largest first."""
    scales = {name + _SCALE for name in quantized_names(stored)}
    sizes = {
        name: array.nbytes
        for name, array in stored.items()
        if name not in scales and name + _SCALE not in stored
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _decode(values: Array, scale: Array, spec: jax.ShapeDtypeStruct) -> Array:
    return (values.astype(jnp.float32) * scale).astype(spec.dtype)


def _is_kernel(name: str, array: np.ndarray) -> bool:
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return (
        name.startswith("params.")
        and name.rpartition(".")[2] == "kernel"
        and array.ndim >= 2
        and is_float
    )
