"""Attention to keys that are read a block at a time, as many as there are now."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp

from kauldron.ktyping import Float, Int, ScalarInt
from kauldron.modules.attention import _blocks, _visibility


class KeyBlock(NamedTuple):
    """Some keys of each row, and their values.

    Attributes:
      key: Keys of `k` heads.
      value: Values of `k` heads, finite also where there is no key.
      positions: Of the keys; -1 is none.
    """

    key: Float["b s k h"]
    value: Float["b s k v"]
    positions: Int["b s"]


def attend_key_blocks(
    query: Float["b t n h"],
    read: Callable[[ScalarInt], KeyBlock],
    first: ScalarInt,
    end: ScalarInt,
    *,
    query_positions: Int["b t"],
    window: int | None = None,
    softcap: float | None = None,
    scale: float | None = None,
) -> Float["b t n v"]:
    """Returns causal attention to the keys of blocks `first` to `end - 1`.

    The number of blocks is a value: nothing is compiled again when there are more keys.
    Blocks in which a row sees nothing leave it as it is, to the bit. There are no
    gradients.

    Args:
      query: Queries of `n` heads, a multiple of those of the keys.
      read: Returns a block by its index; all have the same sizes.
      first: The first block that a query sees.
      end: The block after the last one.
      query_positions: A query sees no key of a later position.
      window: A query sees keys less than so many positions before.
      softcap: The logits stay within plus and minus this.
      scale: Factor of the products; by default `1 / sqrt(h)`.
    """
    like: KeyBlock = jax.eval_shape(read, jnp.int32(0))
    num_kv_heads, width = like.value.shape[-2:]
    spec = _blocks.Spec(
        rule=_visibility.Rule(is_causal=True, window=window, has_empty_keys=True),
        scale=1 / math.sqrt(query.shape[-1]) if scale is None else scale,
        softcap=softcap,
    )
    query = einops.rearrange(query, "b t (k g) h -> b k g t h", k=num_kv_heads)
    side = _visibility.Side(query_positions, None)

    def fold(index: ScalarInt, sums: _blocks.Sums) -> _blocks.Sums:
        block = read(index)
        inputs = _blocks.Inputs(
            query=query,
            key=einops.rearrange(block.key, "b s k h -> b k s h"),
            value=einops.rearrange(block.value, "b s k v -> b k s v"),
            bias=None,
        )
        places = _blocks.Places(side, _visibility.Side(block.positions, None), None)
        return _blocks.folded(sums, _blocks.scores(spec, inputs, places), inputs.value)

    start = _blocks.empty_sums(query.shape[:-1], width)
    out = _blocks.mean_of(jax.lax.fori_loop(first, end, fold, start))
    return einops.rearrange(out.astype(query.dtype), "b k g t v -> b t (k g) v")
