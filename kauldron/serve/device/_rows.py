"""What the compiled programs take and give, as arrays with one row for each answer."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import numpy as np

from kauldron.ktyping import Bool, Float, Int, UInt32
from kauldron.serve.requests import SamplingParams

# Bits of a word of the masks of allowed tokens.
_WORD = 32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RowParams:
    """How the next tokens of each row are chosen: `SamplingParams` as arrays.

    Attributes:
      temperature: 0 takes the most likely token.
      top_k: How many tokens may follow; the vocabulary's size is all.
      top_p: See `SamplingParams`, as all until `presence_penalty`.
      min_p: .
      typical_p: .
      repetition_penalty: .
      frequency_penalty: .
      presence_penalty: .
      seeds: Of the draws.
      has_mask: Whether only tokens of `allowed` may follow.
      allowed: Bit `i % 32` of word `i // 32` is token `i`.
      bias_tokens: Tokens with a bias; -1 is none.
      bias: What is added to their logits.
      num_top: Of how many of the likeliest tokens log-probabilities are wanted.
      adapters: Index of each row's adapter; 0 is none.
    """

    temperature: Float["*b"]
    top_k: Int["*b"]
    top_p: Float["*b"]
    min_p: Float["*b"]
    typical_p: Float["*b"]
    repetition_penalty: Float["*b"]
    frequency_penalty: Float["*b"]
    presence_penalty: Float["*b"]
    seeds: UInt32["*b"]
    has_mask: Bool["*b"]
    allowed: UInt32["b words"]
    bias_tokens: Int["b k"]
    bias: Float["b k"]
    num_top: Int["*b"]
    adapters: Int["*b"]

    @classmethod
    def neutral(cls, num_rows: int, *, vocab_size: int, max_bias: int) -> Self:
        """Returns rows that take the most likely token of the model."""

        def full(value: float, dtype: Any, *shape: int) -> np.ndarray:
            return np.full((num_rows, *shape), value, dtype)

        return cls(
            temperature=full(0, np.float32),
            top_k=full(vocab_size, np.int32),
            top_p=full(1, np.float32),
            min_p=full(0, np.float32),
            typical_p=full(1, np.float32),
            repetition_penalty=full(1, np.float32),
            frequency_penalty=full(0, np.float32),
            presence_penalty=full(0, np.float32),
            seeds=full(0, np.uint32),
            has_mask=full(0, bool),
            allowed=full(0, np.uint32, -(-vocab_size // _WORD)),
            bias_tokens=full(-1, np.int32, max_bias),
            bias=full(0, np.float32, max_bias),
            num_top=full(0, np.int32),
            adapters=full(0, np.int32),
        )

    def put(
        self,
        row: int,
        sampling: SamplingParams,
        *,
        seed: int = 0,
        allowed: np.ndarray | None = None,
        adapter: int = 0,
    ) -> None:
        """Writes how one row chooses its tokens; the arrays are those of the host.

        Args:
          row: Which.
          sampling: As the request says; its numbers are in range.
          seed: Of the draws of this answer.
          allowed: Which tokens may follow, `u32[words]`; `None` is all.
          adapter: Index of the adapter; 0 is none.
        """
        for name in (
            *("temperature", "top_p", "min_p", "typical_p"),
            *("repetition_penalty", "frequency_penalty", "presence_penalty"),
        ):
            np.asarray(getattr(self, name))[row] = getattr(sampling, name)
        vocab_size = np.iinfo(np.int32).max
        self.top_k[row] = sampling.top_k or vocab_size
        self.seeds[row] = seed % 2**32
        self.has_mask[row] = allowed is not None
        if allowed is not None:
            self.allowed[row] = allowed
        self.bias_tokens[row] = -1
        bias = sampling.logit_bias
        self.bias_tokens[row, : len(bias)] = list(bias)
        self.bias[row, : len(bias)] = list(bias.values())
        self.num_top[row] = sampling.logprobs or 0
        self.adapters[row] = adapter


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefillBatch:
    """Tokens to be read, and kept in their pages.

    Rows may be parts of one prompt, one after the other: they see each other through
    their pages.

    Attributes:
      tokens: Of each row.
      positions: Of the tokens; -1 is no token.
      page_tables: Pages of each row, in the order of positions; -1 is none.
      adapters: Index of each row's adapter; 0 is none.
    """

    tokens: Int["b t"]
    positions: Int["b t"]
    page_tables: Int["b p"]
    adapters: Int["*b"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeBatch:
    """The last token of each answer, from where it goes on. Row `i` is slot `i`.

    Attributes:
      tokens: The last token of prompt and answer, not yet read.
      positions: Their positions; -1 is an empty slot.
      page_tables: Pages of each row, in the order of positions; -1 is none. There are
        pages for all tokens that are read: the last one made is not.
      limits: How many tokens each row may make in this call, >= 1.
      stop_ids: Tokens that end a row, whose other tokens are not made; -2 is none.
      index: How many tokens each answer has; draws are counted by it.
      rows: How tokens are chosen.
    """

    tokens: Int["*b"]
    positions: Int["*b"]
    page_tables: Int["b p"]
    limits: Int["*b"]
    stop_ids: Int["b k"]
    index: Int["*b"]
    rows: RowParams


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampled:
    """Tokens that were made, from the first step on; on the device until `get`.

    Attributes:
      tokens: Of each row and step; -1 is none made. A stop token is the last of its row.
      logprobs: Their log-probabilities under the model.
      drawn_logprobs: Of the distributions that they were drawn from.
      top_tokens: The likeliest tokens under the model, if a row asked for them.
      top_logprobs: Their log-probabilities.
    """

    tokens: Int["b m"]
    logprobs: Float["b m"]
    drawn_logprobs: Float["b m"]
    top_tokens: Int["b m k"]
    top_logprobs: Float["b m k"]

    def get(self) -> Sampled:
        """Waits for the tokens, and returns them as NumPy arrays."""
        return jax.device_get(self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """How likely tokens were that are given; on the device until `get`.

    Attributes:
      logprobs: Log-probabilities of the targets; 0 where there is none.
      top_tokens: The likeliest tokens.
      top_logprobs: Their log-probabilities.
    """

    logprobs: Float["b t"]
    top_tokens: Int["b t k"]
    top_logprobs: Float["b t k"]

    def get(self) -> Scored:
        """Waits for the numbers, and returns them as NumPy arrays."""
        return jax.device_get(self)
