"""What metrics and losses do first with the arrays they are given."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Scalar


def to_float(x: Array | Scalar) -> jax.Array:
    """Returns the array in f32, or f64 if it is: nothing is measured in less."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


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
