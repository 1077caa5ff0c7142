"""Weight files of perceptual networks: arrays by name."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron._base import errors
from kauldron.ktyping import Array

Weights = Mapping[str, Array]


class WeightsError(errors.UserError, ValueError):
    """The weights of a network are not those of that network."""


class WeightsNotFoundError(errors.UserError, FileNotFoundError):
    """There is no file with the weights of a network."""


def load(
    path: epath.PathLike | None, *, names: Iterable[str], metric: str, converter: str
) -> Weights:
    """Returns the arrays of an `.npz` file. A file is read once.

    Args:
      path: The file.
      names: Arrays that must be there.
      metric: Name of the metric, for messages.
      converter: Name of the function that makes such a file, for messages.

    Raises:
      WeightsNotFoundError: A `FileNotFoundError`: there is no path, or no file.
      WeightsError: A `ValueError`: the file is damaged, or an array is missing.
    """
    how = (
        f"Pass `weights=`, the path of an `.npz` file as `kd.metrics.networks.{converter}` "
        "makes it from the published weights."
    )
    if path is None:
        raise WeightsNotFoundError(f"{metric} needs the weights of a network. {how}")
    file = epath.Path(path).expanduser()
    if not file.is_file():
        raise WeightsNotFoundError(
            f"{metric} finds no weights: {os.fspath(path)!r} is no file. {how}"
        )
    weights = _read(file, file.stat().mtime)
    check(weights, names=names, source=f"{os.fspath(path)!r}, the weights of {metric},")
    return weights


@functools.lru_cache(maxsize=4)
def _read(file: epath.Path, mtime: float | int) -> Weights:
    """Returns all arrays; `mtime` makes a changed file another one."""
    del mtime
    try:
        with file.open("rb") as f, np.load(f, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as e:  # whatever zipfile and NumPy find wrong
        raise WeightsError(
            f"{os.fspath(file)!r} is no `.npz` file of arrays: {type(e).__name__}: {e}"
        ) from e


def check(weights: Weights, *, names: Iterable[str], source: str) -> None:
    """Raises `WeightsError` if an array is missing."""
    missing = [name for name in names if name not in weights]
    if not missing:
        return
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise WeightsError(
        f"{source} must hold {missing[0]!r}{more}: got {len(weights)} arrays, such as "
        f"{sorted(weights)[:3]}.{errors.did_you_mean(missing[0], weights)}"
    )


def save(path: epath.PathLike, weights: Mapping[str, Any]) -> None:
    """Writes arrays by name to an `.npz` file."""
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in weights.items()}
    with epath.Path(path).expanduser().open("wb") as f:
        np.savez(f, **arrays)


def conv(
    x: jax.Array, weights: Weights, name: str, *, stride: int = 1, padding: str = "SAME"
) -> jax.Array:
    """Returns the ReLU of a convolution of `Array["b h w c"]`, in the dtype of `x`."""
    y = jax.lax.conv_general_dilated(
        x,
        jnp.asarray(weights[f"{name}.kernel"], x.dtype),
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,  # half precision would show in the value
    )
    bias = weights[f"{name}.bias"].astype(x.dtype)
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def max_pool(
    x: jax.Array, *, size: int, stride: int, padding: str = "VALID"
) -> jax.Array:
    """Returns the maximum of each window of `Array["b h w c"]`."""
    lowest = np.asarray(-np.inf, x.dtype)
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, window, strides, padding)


def to_rgb(images: jax.Array) -> jax.Array:
    """Returns images `Array["*b h w 1|3"]` as `Array["n h w 3"]`."""
    images = jnp.broadcast_to(images, (*images.shape[:-1], 3))
    return images.reshape(-1, *images.shape[-3:])
