"""Casts that the metrics share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def to_float(x: Any) -> jax.Array:
    """Returns the array in f32, or f64 if it is; metrics compute in no less."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
