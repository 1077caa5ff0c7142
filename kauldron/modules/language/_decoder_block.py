"""One block of a decoder: attention and feed-forward, each added to its input."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from kauldron.ktyping import Float, Int, typechecked
from kauldron.modules import _rms_norm


class DecoderBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`.

    Parameters: `attention`, `feed_forward`, `attention_norm`, `feed_forward_norm`, with
    `has_post_norms` also `attention_post_norm` and `feed_forward_post_norm`.

    Attributes:
      attention: `GQAttention`, `MLAttention`, or a module with their `__call__` and
        `cache_spec`.
      feed_forward: `FeedForward`, `MoE`, or another module of `Float["*b d"]`.
      norm: Norm before both, copied for each.
      has_post_norms: Whether the results are normed before they are added, as in Gemma
        2 and 3.
    """

    attention: nn.Module
    feed_forward: nn.Module
    norm: nn.Module = _rms_norm.RMSNorm()
    has_post_norms: bool = False

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
        y = self._norm("attention_norm")(x)
        y, cache = self.attention(y, positions, segment_ids, cache)
        if self.has_post_norms:
            y = self._norm("attention_post_norm")(y)
        x = x + y
        y = self.feed_forward(self._norm("feed_forward_norm")(x))
        if self.has_post_norms:
            y = self._norm("feed_forward_post_norm")(y)
        return x + y, cache

    def _norm(self, name: str) -> Any:
        return self.norm.clone(name=name, parent=self)
