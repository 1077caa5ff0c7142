"""One block of a decoder: attention and feed-forward, each added to its input."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from kauldron import sharding
from kauldron.ktyping import Float, Int, typechecked
from kauldron.modules import _norms

# Between attention and feed-forward, where every token is by itself.
_AXES = ("sequence", "embed")


class DecoderBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`.

    Parameters: `attention`, `feed_forward`, `attention_norm`, `feed_forward_norm`, with
    `has_post_norms` also `attention_post_norm` and `feed_forward_post_norm`.

    Attributes:
      attention: `GQAttention`, `MLAttention`, or a module with their `__call__` and
        `cache_spec`.
      feed_forward: `FeedForward`, `MoE`, or another module of `Float["*b d"]`.
      norm: Norm before both, each with parameters of its own: `"rms"`, `"layer"`, or a
        module such as `RMSNorm(adds_one=True)`.
      epsilon: Of norms by name.
      has_post_norms: Whether the results are normed before they are added, as in Gemma
        2 and 3.
      dtype: Of norms by name; by default that of input and parameters together.
      param_dtype: Of the parameters of norms by name.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm: _norms.Norm = "rms"
    epsilon: float = 1e-6
    has_post_norms: bool = False
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
        x = sharding.with_logical_constraint(x, _AXES)
        y = self._norm("attention_norm")(x)
        y, cache = self.attention(y, positions, segment_ids, cache)
        if self.has_post_norms:
            y = self._norm("attention_post_norm")(y)
        x = sharding.with_logical_constraint(x + y, _AXES)
        y = self.feed_forward(self._norm("feed_forward_norm")(x))
        if self.has_post_norms:
            y = self._norm("feed_forward_post_norm")(y)
        return sharding.with_logical_constraint(x + y, _AXES), cache

    def _norm(self, name: str) -> Any:
        return _norms.make_norm(
            self.norm,
            owner=self,
            feature_axis="embed",
            epsilon=self.epsilon,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )
