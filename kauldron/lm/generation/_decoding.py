"""Device programs of generation: read the prompts, then one token after the other.

Both are compiled for a model and sizes alone. How many tokens are made, where rows stop,
temperature and seeds are values.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Bool, Float, Int, PyTree, UInt32
from kauldron.lm.generation import _token_draws
from kauldron.metrics import arrays


class Decoding(flax.struct.PyTreeNode):
    """Where the generation of some rows is.

    Attributes:
      cache: What attention keeps of all tokens but the last one.
      last: Last token of each row, not yet read.
      position: Its position.
      is_done: Whether a row has ended; its further tokens mean nothing.
      num_made: Tokens made of each row, that which ended it included.
      tokens: The tokens made; -1 behind the end.
      logprobs: Their log-probabilities under the model, before temperature and cuts.
      step: How many tokens were made of rows that have not ended.
    """

    cache: Any
    last: Int["*b"]
    position: Int["*b"]
    is_done: Bool["*b"]
    num_made: Int["*b"]
    tokens: Int["b m"]
    logprobs: Float["b m"]
    step: Int[""]


@functools.partial(
    jax.jit, static_argnames=("model", "num_slots", "max_tokens", "cache_dtype")
)
def prefill(
    params: PyTree,
    tokens: Int["b t"],
    lengths: Int["*b"],
    *,
    model: nn.CausalLM,
    num_slots: int,
    max_tokens: int,
    cache_dtype: Any = None,
) -> Decoding:
    """Returns the state in which each prompt is read, but for its last token.

    Args:
      params: Of the model.
      tokens: Prompts, each at the beginning of its row.
      lengths: Tokens of each prompt, >= 1.
      model: The decoder.
      num_slots: Of the cache.
      max_tokens: The most tokens to be made.
      cache_dtype: Of the cache, by default f32.
    """
    num_rows, width = tokens.shape
    cache = model.init_cache(
        lambda spec: nn.ContiguousCache.empty(
            spec, batch_size=num_rows, num_slots=num_slots, dtype=cache_dtype
        )
    )
    last = jnp.take_along_axis(tokens, lengths[:, None] - 1, axis=1)[:, 0]
    if width > 1:
        index = jnp.arange(width - 1, dtype=jnp.int32)
        positions = jnp.where(index < lengths[:, None] - 1, index, -1)
        # The logits are not used, so the head is not computed.
        outputs: Any = model.apply(
            {"params": params}, tokens[:, :-1], positions, None, cache
        )
        cache = outputs["cache"]
    return Decoding(
        cache=cache,
        last=last,
        position=lengths - 1,
        is_done=jnp.zeros(num_rows, bool),
        num_made=jnp.zeros(num_rows, jnp.int32),
        tokens=jnp.full((num_rows, max_tokens), -1, jnp.int32),
        logprobs=jnp.zeros((num_rows, max_tokens), jnp.float32),
        step=jnp.int32(0),
    )


@functools.partial(
    jax.jit,
    static_argnames=("model", "is_greedy"),
    donate_argnames=("state",),
)
def decode(
    params: PyTree,
    state: Decoding,
    until: Int[""],
    seeds: UInt32["*b"],
    stop_ids: Int["*s"],
    cuts: _token_draws.Cuts,
    *,
    model: nn.CausalLM,
    is_greedy: bool,
) -> Decoding:
    """Makes tokens until there are so many, or every row has ended.

    Args:
      params: Of the model.
      state: Where the rows are; it is used up.
      until: How many tokens there shall be.
      seeds: Of each row; the draws of a row depend on nothing else.
      stop_ids: Tokens that end a row; -1 is none.
      cuts: Temperature and cuts.
      model: The decoder.
      is_greedy: Whether the most likely token is taken.
    """

    def choose(logits: Float["b v"], step: Int[""]) -> Int["*b"]:
        if is_greedy:
            return _token_draws.likeliest_tokens(logits)
        logits = _token_draws.cut_logits(logits, cuts)
        return _token_draws.draw_tokens(logits, seeds, step)

    def make_one(state: Decoding) -> Decoding:
        positions = jnp.where(state.is_done, -1, state.position)
        outputs: Any = model.apply(
            {"params": params},
            state.last[:, None],
            positions[:, None],
            None,
            state.cache,
        )
        logits = outputs["logits"][:, 0].astype(jnp.float32)
        token = choose(logits, state.step)
        logprob = arrays.logprobs_of(logits, token)
        goes_on = ~state.is_done
        token = jnp.where(goes_on, token, -1)
        ends = jnp.any(token[:, None] == stop_ids, axis=-1)
        return Decoding(
            cache=outputs["cache"],
            last=jnp.maximum(token, 0),
            position=state.position + 1,
            is_done=state.is_done | ends,
            num_made=state.num_made + goes_on,
            tokens=state.tokens.at[:, state.step].set(token),
            logprobs=state.logprobs.at[:, state.step].set(
                jnp.where(goes_on, logprob, 0.0)
            ),
            step=state.step + 1,
        )

    def goes_on(state: Decoding) -> Bool[""]:
        return (state.step < until) & ~jnp.all(state.is_done)

    return jax.lax.while_loop(goes_on, make_one, state)
