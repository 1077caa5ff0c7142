"""Multi-head latent attention: keys and values are made of one small vector a token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from kauldron.ktyping import Array, Float, Int, typechecked
from kauldron.modules import _logical_axes, _rms_norm, _sizes
from kauldron.modules.attention import _cache, _dot_product
from kauldron.modules.language import _projection
from kauldron.modules.language._rope import Rope


class MLAttention(nn.Module):
    """Causal attention over a latent that all heads share; the latent is what is cached.

    A head's key is `[key_up @ latent, rotated]`, its value `value_up @ latent`; the
    rotated part is common to all heads. With a cache, queries go through `key_up`
    instead of keys: nothing is expanded, and a token costs `kv_rank + rope_head_dim`
    numbers.

    Parameters: `latent`, `latent_norm`, `key_up`, `value_up`, `out`, and `query`, or
    `query_down`, `query_norm`, `query_up` with `query_rank`.

    Attributes:
      num_heads: Number of heads.
      kv_rank: Size of the latent.
      query_rank: Size of the vector that queries are made of; `None` makes them of the
        input.
      head_dim: Features of a head without position.
      rope_head_dim: Features of a head that are rotated.
      value_head_dim: Features of a head's values.
      rope: Rotary embedding.
      epsilon: Of the norms.
      scale: Factor of the logits; by default `1 / sqrt(head_dim + rope_head_dim)`.
      kernel_init: Initializer of the kernels.
      dtype: Of the computation; by default that of input and parameters together.
      param_dtype: Of the parameters.

    Reference: DeepSeek-AI 2024, DeepSeek-V2, arXiv:2405.04434, §2.1.
    """

    num_heads: int
    kv_rank: int
    query_rank: int | None = None
    head_dim: int = 128
    rope_head_dim: int = 64
    value_head_dim: int = 128
    rope: Rope = Rope(layout="pair")
    epsilon: float = 1e-6
    scale: float | None = None
    kernel_init: Callable[..., Any] = _projection.DEFAULT_INIT
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        _sizes.check_positive(
            self,
            *("num_heads", "kv_rank", "query_rank"),
            *("head_dim", "rope_head_dim", "value_head_dim"),
        )
        super().__post_init__()

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
        self.rope.rotated_size(self.rope_head_dim)
        content, turning = jnp.split(self._query(x), [self.head_dim], axis=-1)
        turning = self.rope(turning, positions)
        entry = self._entry(x, positions)
        key_up = self._up("key_up", self.head_dim, content)
        value_up = self._up("value_up", self.value_head_dim, content)
        # The logits' scale is that of expanded heads, in both ways of computing.
        scale = self.scale
        if scale is None:
            scale = (self.head_dim + self.rope_head_dim) ** -0.5
        if cache is None:
            latent, shared = jnp.split(entry, [self.kv_rank], axis=-1)
            key = jnp.einsum("...tr,rnh->...tnh", latent, key_up)
            shared = jnp.broadcast_to(
                shared[..., None, :], (*key.shape[:-1], self.rope_head_dim)
            )
            mixed = _dot_product.dot_product_attention(
                jnp.concatenate([content, turning], axis=-1),
                jnp.concatenate([key, shared], axis=-1),
                jnp.einsum("...tr,rnh->...tnh", latent, value_up),
                is_causal=True,
                scale=scale,
                query_segment_ids=segment_ids,
                key_segment_ids=segment_ids,
            )
        else:
            cache = cache.append({"latent": entry}, positions)
            absorbed = jnp.einsum("...tnh,rnh->...tnr", content, key_up)
            mixed = cache.attend(
                jnp.concatenate([absorbed, turning], axis=-1),
                positions,
                self._latents,
                scale=scale,
            )
            mixed = jnp.einsum("...tnr,rnh->...tnh", mixed, value_up)
        out = self._project("out", (x.shape[-1],), ("heads", "head_dim", "embed"))
        return out(mixed), cache

    def cache_spec(self, features: int) -> _cache.CacheSpec:
        """Returns what is kept of a token, for any number of `features`."""
        del features
        return _cache.CacheSpec({"latent": (self.kv_rank + self.rope_head_dim,)}, None)

    def _latents(
        self, entries: Mapping[str, Array["b s *d"]]
    ) -> tuple[Float["b s 1 h"], Float["b s 1 v"]]:
        kept = entries["latent"][..., None, :]
        return kept, kept[..., : self.kv_rank]

    def _query(self, x: Float["*b t d"]) -> Float["*b t n h"]:
        heads = (self.num_heads, self.head_dim + self.rope_head_dim)
        if self.query_rank is None:
            return self._project("query", heads, ("embed", "heads", "head_dim"))(x)
        low = self._project("query_down", (self.query_rank,), ("embed", None))(x)
        low = self._norm("query_norm")(low)
        return self._project("query_up", heads, (None, "heads", "head_dim"))(low)

    def _entry(self, x: Float["*b t d"], positions: Int["*b t"]) -> Float["*b t r"]:
        """Returns what is kept: the latent after its norm, and the rotated key."""
        size = self.kv_rank + self.rope_head_dim
        both = self._project("latent", (size,), ("embed", None))(x)
        latent, shared = jnp.split(both, [self.kv_rank], axis=-1)
        shared = self.rope(shared[..., None, :], positions)[..., 0, :]
        return jnp.concatenate([self._norm("latent_norm")(latent), shared], axis=-1)

    def _up(self, name: str, size: int, like: Float["*b t n h"]) -> Float["r n h"]:
        def init(rng, shape, dtype):
            matrix = (shape[0], shape[1] * shape[2])
            return self.kernel_init(rng, matrix, dtype).reshape(shape)

        named = _logical_axes.with_logical_axes(init, (None, "heads", "head_dim"))
        shape = (self.kv_rank, self.num_heads, size)
        return self.param(name, named, shape, self.param_dtype).astype(like.dtype)

    def _project(
        self, name: str, features: tuple[int, ...], axes: tuple[str | None, ...]
    ) -> _projection.Projection:
        return _projection.Projection(
            features,
            axes,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _norm(self, name: str) -> _rms_norm.RMSNorm:
        return _rms_norm.RMSNorm(
            epsilon=self.epsilon,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            axis_name=None,
            name=name,
        )
