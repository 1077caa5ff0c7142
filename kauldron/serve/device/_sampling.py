"""How one token of each row is chosen, from the logits of the model to log-probabilities.

Everything is in f32, whatever the model computes in, and a row depends on nothing of the
others. What no row asks for is not computed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kauldron import lm
from kauldron.ktyping import Bool, Float, Int
from kauldron.metrics import arrays
from kauldron.serve.device._rows import RowParams


class History(NamedTuple):
    """Which tokens each slot has had; what penalties are computed from.

    Attributes:
      in_prompt: Whether a token is in the prompt.
      counts: How often it is in the answer.
    """

    in_prompt: Bool["b v"]
    counts: Int["b v"]

    @classmethod
    def empty(cls, num_slots: int, vocab_size: int) -> History:
        """Returns the history of slots that have had no token."""
        shape = (num_slots, vocab_size)
        return cls(jnp.zeros(shape, bool), jnp.zeros(shape, jnp.int32))

    def with_tokens(self, tokens: Int["*b"]) -> History:
        """Returns the history with one more token of each answer; -1 is none."""
        vocab_size = self.counts.shape[1]
        places = jnp.where(tokens < 0, vocab_size, tokens)
        rows = jnp.arange(tokens.size)
        counts = self.counts.at[rows, places].add(1, mode="drop")
        return self._replace(counts=counts)


class Choice(NamedTuple):
    """The token of each row; see `Sampled`."""

    tokens: Int["*b"]
    logprobs: Float["*b"]
    drawn_logprobs: Float["*b"]
    top_tokens: Int["b k"]
    top_logprobs: Float["b k"]


def choose(
    logits: Float["b v"],
    rows: RowParams,
    history: History,
    index: Int["*b"],
    *,
    max_top: int,
) -> Choice:
    """Chooses a token for each row.

    Args:
      logits: Of the model.
      rows: How tokens are chosen.
      history: What came before.
      index: How many tokens each answer has.
      max_top: The most likeliest tokens that are told.
    """
    logits = logits.astype(jnp.float32)
    changed = shaped_logits(logits, rows, history)
    greedy = lm.likeliest_tokens(changed)
    is_drawn = rows.temperature > 0

    def draw(changed: Float["b v"]) -> tuple[Int["*b"], Float["*b"]]:
        cuts = lm.Cuts(
            temperature=jnp.where(is_drawn, rows.temperature, 1.0),
            top_k=rows.top_k,
            top_p=rows.top_p,
            min_p=rows.min_p,
            typical_p=rows.typical_p,
        )
        left = lm.cut_logits(changed, cuts)
        drawn = lm.draw_tokens(left, rows.seeds, index)
        tokens = jnp.where(is_drawn, drawn, greedy)
        return tokens, jnp.where(is_drawn, arrays.logprobs_of(left, tokens), 0.0)

    def take(changed: Float["b v"]) -> tuple[Int["*b"], Float["*b"]]:
        del changed
        return greedy, jnp.zeros(greedy.shape, jnp.float32)

    tokens, drawn_logprobs = jax.lax.cond(jnp.any(is_drawn), draw, take, changed)
    top_tokens, top_logprobs = _top(logits, rows, max_top)
    return Choice(
        tokens,
        arrays.logprobs_of(logits, tokens),
        drawn_logprobs,
        top_tokens,
        top_logprobs,
    )


def shaped_logits(
    logits: Float["b v"], rows: RowParams, history: History
) -> Float["b v"]:
    """Returns the logits with penalties, bias and mask, before temperature and cuts.

    A positive logit of a token that was there is divided by the repetition penalty, a
    negative one multiplied.

    Reference: Keskar et al. 2019, CTRL, arXiv:1909.05858, §4.1 (repetition penalty).
    """

    def penalize(logits: Float["b v"]) -> Float["b v"]:
        was_there = history.in_prompt | (history.counts > 0)
        factor = rows.repetition_penalty[:, None]
        repeated = jnp.where(logits > 0, logits / factor, logits * factor)
        logits = jnp.where(was_there, repeated, logits)
        logits = logits - rows.frequency_penalty[:, None] * history.counts
        return logits - rows.presence_penalty[:, None] * (history.counts > 0)

    def add_bias(logits: Float["b v"]) -> Float["b v"]:
        places = jnp.where(rows.bias_tokens < 0, logits.shape[1], rows.bias_tokens)
        lines = jnp.arange(logits.shape[0])[:, None]
        return logits.at[lines, places].add(rows.bias, mode="drop")

    def mask(logits: Float["b v"]) -> Float["b v"]:
        bits = rows.allowed[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)
        is_allowed = (bits & 1).reshape(logits.shape[0], -1)[:, : logits.shape[1]]
        may_follow = (is_allowed > 0) | ~rows.has_mask[:, None]
        return jnp.where(may_follow, logits, -jnp.inf)

    has_penalty = (
        (rows.repetition_penalty != 1)
        | (rows.frequency_penalty != 0)
        | (rows.presence_penalty != 0)
    )
    for change, is_needed in (
        (penalize, has_penalty),
        (add_bias, rows.bias_tokens >= 0),
        (mask, rows.has_mask),
    ):
        logits = jax.lax.cond(jnp.any(is_needed), change, lambda x: x, logits)
    return logits


def _top(
    logits: Float["b v"], rows: RowParams, max_top: int
) -> tuple[Int["b k"], Float["b k"]]:
    def find(logits: Float["b v"]) -> tuple[Int["b k"], Float["b k"]]:
        values, tokens = jax.lax.top_k(logits, max_top)
        norm = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        return tokens.astype(jnp.int32), values - norm

    def skip(logits: Float["b v"]) -> tuple[Int["b k"], Float["b k"]]:
        shape = (logits.shape[0], max_top)
        return jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.float32)

    return jax.lax.cond(jnp.any(rows.num_top > 0), find, skip, logits)
