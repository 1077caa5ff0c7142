"""How many pages an engine gets: what was asked for, or what the memory has room for."""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron import sharding
from kauldron._base import errors

# Of the memory that is free; the rest is for activations, and for others.
_SHARE_OF_HOST = 0.25
_SHARE_OF_DEVICES = 0.8


class EngineError(errors.UserError, ValueError):
    """An engine that can't be made of what was asked for."""


def num_pages(
    model: nn.CausalLM,
    *,
    page_size: int,
    context_length: int,
    num_slots: int,
    dtype: Any = None,
    cache_gb: float | None = None,
) -> int:
    """Returns how many pages there shall be.

    As many as all slots need for whole contexts, if the memory has room for them.

    Args:
      model: The decoder.
      page_size: Tokens of a page.
      context_length: The most tokens of a row.
      num_slots: Rows.
      dtype: Of what is kept; by default f32.
      cache_gb: Memory for them in 10**9 bytes; by default a share of what is free.

    Raises:
      EngineError: If there is no room for one whole context.
    """
    per_page = bytes_of_page(model, page_size, dtype)
    per_row = math.ceil(context_length / page_size)
    room = free_bytes() if cache_gb is None else cache_gb * 1e9
    found = min(num_slots * per_row, int(room // per_page))
    if found < per_row:
        raise EngineError(
            f"A context of {context_length} tokens needs {per_row * per_page / 1e9:.2f} "
            f"GB for keys and values, and there are {room / 1e9:.2f} GB for them. Give a "
            "shorter `context_length`, or a `cache_dtype` such as 'bfloat16'."
        )
    return found


def bytes_of_page(model: nn.CausalLM, page_size: int, dtype: Any = None) -> int:
    """Returns the memory of a page, of all layers."""
    itemsize = jnp.dtype(dtype or jnp.float32).itemsize

    def empty(spec: nn.CacheSpec) -> Any:
        return {
            name: jax.ShapeDtypeStruct((page_size, *shape), jnp.dtype(jnp.int8))
            for name, shape in spec.shapes.items()
        }

    shapes = jax.eval_shape(
        lambda: model.init_cache(
            lambda spec: jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype), empty(spec)
            )
        )
    )
    return sum(x.size for x in jax.tree.leaves(shapes)) * itemsize


def give_back_unused() -> None:
    """Gives memory that was freed back to the system, which glibc would keep."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def free_bytes() -> float:
    """Returns how much memory the pages may have, of what is free."""
    is_host = jax.local_devices()[0].platform == "cpu"
    return sharding.free_bytes() * (_SHARE_OF_HOST if is_host else _SHARE_OF_DEVICES)
