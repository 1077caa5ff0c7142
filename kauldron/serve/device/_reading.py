"""What is said of tokens that were read: how likely they were, and what the model sees."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Float, Int
from kauldron.metrics import arrays
from kauldron.serve.device import _forward
from kauldron.serve.device._forward import Weights
from kauldron.serve.device._rows import Scored


def score(
    weights: Weights,
    hidden: Float["b t d"],
    targets: Int["b t"],
    *,
    model: nn.CausalLM,
    max_top: int,
) -> Scored:
    """Says how likely the next tokens were.

    Args:
      weights: Of the model.
      hidden: What its head reads of each token.
      targets: The token after each; -1 is none.
      model: The decoder.
      max_top: How many of the likeliest tokens are told.
    """

    # One after the other: logits of all rows at once take more memory than all else.
    def score_row(row: tuple[Float["t d"], Int["*t"]]) -> Scored:
        hidden, targets = row
        logits = _forward.logits(model, weights.params, hidden, weights.rounds)
        logits = logits.astype(jnp.float32)
        norm = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        values, tokens = jax.lax.top_k(logits, max_top)
        own = arrays.logprobs_of(logits, jnp.maximum(targets, 0))
        return Scored(
            logprobs=jnp.where(targets < 0, 0.0, own),
            top_tokens=tokens.astype(jnp.int32),
            top_logprobs=values - norm,
        )

    return jax.lax.map(score_row, (hidden, targets))


def embed(
    weights: Weights, hidden: Float["b t d"], positions: Int["b t"]
) -> Float["b d"]:
    """Returns the sums of the last hidden states of tokens, in f32.

    Args:
      weights: Of the model.
      hidden: What its head reads of each token.
      positions: Of the tokens; -1 is no token.
    """
    del weights
    is_token = (positions >= 0)[..., None]
    return jnp.where(is_token, hidden.astype(jnp.float32), 0.0).sum(axis=1)
