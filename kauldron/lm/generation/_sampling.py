"""How the next token is chosen: greedily, or by a random draw from the likely ones."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from kauldron.lm.generation import _token_draws


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
        """Whether the likeliest token is taken, and nothing is drawn."""
        return self.temperature == 0

    def cuts(self, vocab_size: int) -> _token_draws.Cuts:
        """Returns the values that a compiled program takes."""
        return _token_draws.Cuts(
            temperature=jnp.float32(self.temperature or 1.0),
            top_k=jnp.int32(min(self.top_k or vocab_size, vocab_size)),
            top_p=jnp.float32(self.top_p or 1.0),
            min_p=jnp.float32(0.0),
            typical_p=jnp.float32(1.0),
        )
