"""What is said of tokens that are read: how likely they were, and what the model sees."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Float, Int
from kauldron.metrics import arrays
from kauldron.serve.device import _forward, _paged_cache, _steps
from kauldron.serve.device._forward import Weights
from kauldron.serve.device._rows import PrefillBatch, Scored


def score(
    weights: Weights,
    state: _steps.DeviceState,
    batch: PrefillBatch,
    targets: Int["b t"],
    *,
    model: nn.CausalLM,
    max_top: int,
) -> tuple[_steps.DeviceState, Scored]:
    """Reads tokens, and says how likely the next ones were.

    Args:
      weights: Of the model.
      state: It is used up.
      batch: The tokens.
      targets: The token after each; -1 is none.
      model: The decoder.
      max_top: How many of the likeliest tokens are told.
    """
    result = _steps.run_chunk(weights, state, batch, model=model)

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

    scored = jax.lax.map(score_row, (result.hidden, targets))
    return state._replace(pool=_paged_cache.without_rows(result.cache)), scored


def embed(
    weights: Weights,
    state: _steps.DeviceState,
    batch: PrefillBatch,
    *,
    model: nn.CausalLM,
) -> tuple[_steps.DeviceState, Float["b d"]]:
    """Reads tokens, and returns the sums of their last hidden states, in f32."""
    result = _steps.run_chunk(weights, state, batch, model=model)
    is_token = (batch.positions >= 0)[..., None]
    hidden = jnp.where(is_token, result.hidden.astype(jnp.float32), 0.0)
    state = state._replace(pool=_paged_cache.without_rows(result.cache))
    return state, hidden.sum(axis=1)
