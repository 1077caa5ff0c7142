"""How the next token is chosen: greedily, or by a random draw from the likely ones."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kauldron.ktyping import Bool, Float, Int, PRNGKey


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which tokens may follow, and how one of them is drawn.

    The logits are divided by the temperature; then the `top_k` most likely are kept; of
    these, with their probabilities made to sum to 1, the most likely until they have
    `top_p` together, the one that reaches it included. All in f32.

    Attributes:
      temperature: 0 takes the most likely token, and nothing is drawn.
      top_k: How many tokens may follow; `None` is all.
      top_p: Probability that the tokens that may follow have together; `None` is 1.

    Raises:
      ValueError: If a value is out of range.

    Reference: Holtzman et al. 2020, The Curious Case of Neural Text Degeneration,
    arXiv:1904.09751 (nucleus sampling).
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(
                f"`temperature` must be >= 0 and finite: got {self.temperature}."
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(
                f"`top_k` must be >= 1, or None for all tokens: got {self.top_k}."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p` must be in (0, 1], or None: got {self.top_p}.")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    @property
    def has_cut(self) -> bool:
        """Whether some tokens may be left out."""
        return not self.is_greedy and (self.top_k is not None or self.top_p is not None)

    def numbers(self, vocab_size: int) -> SamplingNumbers:
        """Returns the values that a compiled program takes."""
        return SamplingNumbers(
            jnp.float32(self.temperature or 1.0),
            jnp.int32(min(self.top_k or vocab_size, vocab_size)),
            jnp.float32(self.top_p or 1.0),
        )


class SamplingNumbers(NamedTuple):
    """The values of a `Sampling`, as arrays: other ones need no other program."""

    temperature: Float[""]
    top_k: Int[""]
    top_p: Float[""]


def draw(
    logits: Float["b v"],
    rngs: PRNGKey["*b"],
    numbers: SamplingNumbers,
    *,
    has_cut: bool,
) -> Int["*b"]:
    """Returns a token for each row, drawn with the key of the row."""
    scaled = logits.astype(jnp.float32) / numbers.temperature
    if not has_cut:
        return jax.vmap(jax.random.categorical)(rngs, scaled).astype(jnp.int32)
    order = jnp.argsort(-scaled, axis=-1, stable=True)
    ranked = jnp.take_along_axis(scaled, order, axis=-1)
    ranked = jnp.where(may_follow(ranked, numbers), ranked, -jnp.inf)
    choice = jax.vmap(jax.random.categorical)(rngs, ranked)
    return jnp.take_along_axis(order, choice[:, None], axis=-1)[:, 0].astype(jnp.int32)


def may_follow(ranked: Float["b v"], numbers: SamplingNumbers) -> Bool["b v"]:
    """Returns which tokens are left, of logits from the largest to the smallest."""
    rank = jnp.arange(ranked.shape[-1])
    kept = jnp.broadcast_to(rank < numbers.top_k, ranked.shape)
    probs = jax.nn.softmax(jnp.where(kept, ranked, -jnp.inf), axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    # The most likely one always: sums of f32 may pass a tiny `top_p` at once.
    return kept & ((before < numbers.top_p) | (rank == 0))
