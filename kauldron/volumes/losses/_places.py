"""The places of images that count, of values and of their gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from kauldron.ktyping import Array
from kauldron.metrics import base_state


def inside(region_mask: Array | None, shape: tuple[int, ...]) -> jax.Array | None:
    """Returns which places count as `f32[b *space c]`, `None` if all do."""
    if region_mask is None:
        return None
    mask = base_state.broadcast_mask(region_mask, shape)
    return mask.astype(bool).astype(jnp.float32)


def only_inside(x: jax.Array, inside: jax.Array | None) -> jax.Array:
    """Returns an array that is 0 outside, whatever is there, NaN included."""
    return x if inside is None else jnp.where(inside > 0, x, 0)


def masked_channels(mask: Array | float, shape: tuple[int, ...]) -> Any:
    """Returns where an input `[b *space c]` is masked, by a mask `[b]` or `[b 1|c]`."""
    is_masked = ~jnp.asarray(mask, bool)
    if is_masked.ndim < 2:
        return is_masked.reshape(-1, *(1,) * (len(shape) - 1))
    channels = is_masked.shape[-1] if is_masked.shape[-1] == shape[-1] else 1
    if channels == 1:
        is_masked = is_masked.all(axis=-1, keepdims=True)
    return is_masked.reshape(-1, *(1,) * (len(shape) - 2), channels)
