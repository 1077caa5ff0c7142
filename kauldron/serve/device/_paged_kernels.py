"""JAX's kernels of attention to pages, for GPU and TPU, behind one function.

They read pages where they are, while a gather writes those of all rows to memory first.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Float, Int

# Whether attention is a gather and products, or a kernel; the kernel of the GPU can be run
# by an interpreter.
Attention = Literal["gather", "kernel", "interpreted kernel"]

# What pages of attention with keys and values hold.
NAMES = {"key", "value"}

# The kernel of the GPU takes pages in equal parts, and so many of them at once.
_GPU_PARTS = 16


def attend(
    query: Float["b n h"],
    key: Array["k pages s h"],
    value: Array["k pages s h"],
    tables: Int["b p"],
    lengths: Int["*b"],
    *,
    softcap: float | None = None,
    scale: float | None = None,
    interpret: bool = False,
) -> Float["b n h"]:
    """Returns attention of one query of each row to the first keys of its pages.

    Args:
      query: Of `n` heads, a multiple of those of the keys.
      key: Pages of keys.
      value: Pages of values.
      tables: Pages of each row, in order; -1 is none.
      lengths: How many keys of each row there are. What a row of none gives means
        nothing.
      softcap: The logits stay within plus and minus this.
      scale: Factor of the products; by default `1 / sqrt(h)`.
      interpret: Runs the kernel of the GPU on any device, slowly; for tests.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    query = (query * scale).astype(key.dtype)
    tables = jnp.maximum(tables, 0)  # what lies behind the length is not looked at
    lengths = lengths.astype(jnp.int32)
    if jax.default_backend() == "tpu" and not interpret:
        from jax.experimental.pallas.ops.tpu import paged_attention as tpu

        return tpu.paged_attention(
            query,
            key,
            value,
            lengths,
            tables,
            attn_logits_soft_cap=softcap,
            pages_per_compute_block=math.gcd(tables.shape[1], 8),
        )
    from jax.experimental.pallas.ops.gpu import paged_attention as gpu

    tables = jnp.pad(tables, ((0, 0), (0, -tables.shape[1] % _GPU_PARTS)))
    per_part = tables.shape[1] // _GPU_PARTS
    return gpu.paged_attention(
        query,
        key,
        value,
        tables,
        lengths,
        k_splits=_GPU_PARTS,
        pages_per_compute_block=math.gcd(per_part, 8),
        attn_logits_soft_cap=softcap,
        interpret=interpret,
    )
