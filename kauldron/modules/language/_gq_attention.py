"""Grouped-query attention of decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Float, Int, typechecked
from kauldron.modules import _norms
from kauldron.modules.attention import _cache, _dot_product
from kauldron.modules.language import _projection
from kauldron.modules.language._rope import Rope


class GQAttention(nn.Module):
    """Causal attention in which several query heads read one key head.

    Parameters: `query`, `key`, `value`, `out`; with options `query_norm`, `key_norm`,
    `gate`.

    Attributes:
      num_heads: Number of query heads.
      num_kv_heads: Number of key and value heads, which divides `num_heads`; by default
        as many.
      head_dim: Features of a head; by default those of the input by `num_heads`.
      rope: Rotary embedding; `None` for none.
      qk_norm: Norm of each query and key: `"rms"`, `"layer"`, or a module such as
        `RMSNorm(adds_one=True, axis_name="head_dim")`.
      qk_norm_order: Whether it comes before the rotation or after it.
      epsilon: Of norms by name.
      is_gated: Whether the result is multiplied by a sigmoid of the input before `out`.
      window: A token sees this many positions, its own included; `None` is all before.
      softcap: Bound of the logits.
      scale: Factor of the logits; by default `1 / sqrt(head_dim)`.
      use_bias: Whether queries, keys and values have a bias.
      use_out_bias: Whether the output has one.
      kernel_init: Initializer of all kernels.
      dtype: Of the computation; by default that of input and parameters together.
      param_dtype: Of the parameters.

    Reference: Ainslie et al. 2023, GQA, arXiv:2305.13245.
    """

    num_heads: int
    num_kv_heads: int | None = None
    head_dim: int | None = None
    rope: Rope | None = Rope()
    qk_norm: _norms.Norm = None
    qk_norm_order: Literal["before_rope", "after_rope"] = "before_rope"
    epsilon: float = 1e-6
    is_gated: bool = False
    window: int | None = None
    softcap: float | None = None
    scale: float | None = None
    use_bias: bool = False
    use_out_bias: bool = False
    kernel_init: Callable[..., Any] = _projection.DEFAULT_INIT
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    @typechecked
    def __call__(
        self,
        x: Float["*b t d"],
        positions: Int["*b t"],
        segment_ids: Int["*b t"] | None = None,
        cache: Any = None,
    ) -> tuple[Float["*b t d"], Any]:
        """Returns the result, and the cache with these tokens (`None` without one)."""
        _, num_kv_heads, head_dim = self._sizes(x.shape[-1])
        query = self._project("query", "heads", self.num_heads, head_dim)(x)
        key = self._project("key", "kv", num_kv_heads, head_dim)(x)
        value = self._project("value", "kv", num_kv_heads, head_dim)(x)
        query = self._turned(query, positions, "query_norm")
        key = self._turned(key, positions, "key_norm")
        options = {"window": self.window, "softcap": self.softcap, "scale": self.scale}
        if cache is None:
            mixed = _dot_product.dot_product_attention(
                query,
                key,
                value,
                is_causal=True,
                query_segment_ids=segment_ids,
                key_segment_ids=segment_ids,
                **options,
            )
        else:
            cache = cache.append({"key": key, "value": value}, positions)
            mixed = cache.attend(query, positions, _keys_and_values, **options)
        if self.is_gated:
            gate = self._project("gate", "heads", self.num_heads, head_dim)(x)
            mixed = mixed * jax.nn.sigmoid(gate)
        out = _projection.Projection(
            (x.shape[-1],),
            ("heads", "head_dim", "embed"),
            use_bias=self.use_out_bias,
            name="out",
            **self._common(),
        )(mixed)
        return out, cache

    def cache_spec(self, features: int) -> _cache.CacheSpec:
        """Returns what is kept of a token whose embedding has so many features."""
        _, num_kv_heads, head_dim = self._sizes(features)
        shape = (num_kv_heads, head_dim)
        return _cache.CacheSpec({"key": shape, "value": shape}, self.window)

    def _sizes(self, features: int) -> tuple[int, int, int]:
        num_kv_heads = self.num_kv_heads
        if num_kv_heads is None:
            num_kv_heads = self.num_heads
        if min(self.num_heads, num_kv_heads) < 1 or self.num_heads % num_kv_heads:
            raise ValueError(
                "`num_kv_heads` must divide `num_heads`, both >= 1: got "
                f"num_heads={self.num_heads}, num_kv_heads={num_kv_heads}."
            )
        if self.head_dim is None and features % self.num_heads:
            raise ValueError(
                f"{features} features don't divide evenly over num_heads="
                f"{self.num_heads}. Say `head_dim`, or take another number of heads."
            )
        head_dim = self.head_dim
        if head_dim is None:
            head_dim = features // self.num_heads
        if head_dim < 1:
            raise ValueError(f"`head_dim` must be >= 1: got {head_dim}.")
        if self.rope is not None:
            self.rope.rotated_size(head_dim)
        if self.qk_norm_order not in ("before_rope", "after_rope"):
            raise ValueError(
                "`qk_norm_order` must be 'before_rope' or 'after_rope': got "
                f"{self.qk_norm_order!r}."
            )
        return self.num_heads, num_kv_heads, head_dim

    def _common(self) -> dict[str, Any]:
        names = ("kernel_init", "dtype", "param_dtype")
        return {name: getattr(self, name) for name in names}

    def _project(self, name: str, axis: str, num_heads: int, head_dim: int):
        return _projection.Projection(
            (num_heads, head_dim),
            ("embed", axis, "head_dim"),
            use_bias=self.use_bias and name != "gate",
            name=name,
            **self._common(),
        )

    def _turned(
        self, x: Float["*b t n h"], positions: Int["*b t"], norm_name: str
    ) -> Float["*b t n h"]:
        norm = _norms.make_norm(
            self.qk_norm,
            owner=self,
            feature_axis="head_dim",
            epsilon=self.epsilon,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=norm_name,
        )
        if self.rope is None:
            return norm(x)
        if self.qk_norm_order == "before_rope":
            return self.rope(norm(x), positions)
        return norm(self.rope(x, positions))


def _keys_and_values(
    entries: Mapping[str, Array["b s *d"]],
) -> tuple[Float["b s k h"], Float["b s k v"]]:
    return entries["key"], entries["value"]
