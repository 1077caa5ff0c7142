"""Array conversions at the start of every metric and loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, DType, Float, Int, Scalar


def wide_dtype(dtype: DType) -> np.dtype:
    """Returns f32, or what is wider (f64, complex) as it is: nothing is measured in less."""
    dtype = np.dtype(dtype)
    is_wide = dtype == np.float64 or jnp.issubdtype(dtype, jnp.complexfloating)
    return dtype if is_wide else np.dtype(np.float32)


def to_float(x: Array | Scalar) -> jax.Array:
    """Returns the array in f32, or in what is wider if it is."""
    array = jnp.asarray(x)
    return array.astype(wide_dtype(array.dtype))


def logprobs_of(logits: Float["*b v"], ids: Int["*b"]) -> Float["*b"]:
    """Returns the log-probability of one class each, in the dtype of the logits.

    The log-probabilities of all classes are not made: with a large vocabulary, they would
    take as much memory as the logits.
    """
    own = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return own - jax.nn.logsumexp(logits, axis=-1)


def check_same_shape(owner: object, **arrays: Any) -> None:
    """Raises if arrays differ in shape, naming their keys; nothing is broadcast.

    Args:
      owner: The metric or loss.
      **arrays: Field of the owner -> the array its key points to.

    Raises:
      ValueError: If they do.
    """
    if len({x.shape for x in arrays.values()}) <= 1:
        return
    names = " and ".join(f"`{name}`" for name in arrays)
    seen = " and ".join(
        f"{x.shape} (key {getattr(owner, name)!r})" for name, x in arrays.items()
    )
    raise ValueError(
        f"{type(owner).__name__} needs {names} of the same shape: got {seen}."
    )
