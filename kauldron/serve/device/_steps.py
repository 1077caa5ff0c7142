"""The functions that are compiled: prompts are read, tokens are made and verified."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Bool, Float, Int
from kauldron.serve.device import _forward, _paged_cache, _sampling
from kauldron.serve.device._forward import Weights
from kauldron.serve.device._rows import DecodeBatch, PrefillBatch, Sampled


class DeviceState(NamedTuple):
    """What stays on the device between calls, and is used up by each.

    Attributes:
      pool: The pages of all layers.
      history: Tokens of each slot.
    """

    pool: Any
    history: _sampling.History


class _Making(NamedTuple):
    """Where the rows are within one call."""

    history: _sampling.History
    last: Int["*b"]
    is_done: Bool["*b"]
    made: Sampled
    step: Int[""]


def prefill(
    weights: Weights, state: DeviceState, batch: PrefillBatch, *, model: nn.CausalLM
) -> tuple[DeviceState, Float["b t d"]]:
    """Returns the state in which the tokens are kept in their pages.

    With it comes what the head of the model reads of each token.
    """
    cache = _paged_cache.with_rows(state.pool, batch.page_tables)
    result = _forward.run(
        model, weights, batch.tokens, batch.positions, cache, batch.adapters
    )
    pool = _paged_cache.without_rows(result.cache)
    return state._replace(pool=pool), result.hidden


def decode(
    weights: Weights,
    state: DeviceState,
    batch: DecodeBatch,
    num_steps: Int[""],
    *,
    model: nn.CausalLM,
    max_steps: int,
    max_top: int,
) -> tuple[DeviceState, Sampled]:
    """Makes `num_steps` tokens of each row, or fewer if all rows end before.

    Args:
      weights: Of the model.
      state: It is used up.
      batch: Where the answers are.
      num_steps: From 1 to `max_steps`.
      model: The decoder.
      max_steps: The most steps.
      max_top: The most likeliest tokens that are told of each.
    """

    def make_one(carry: tuple[Any, _Making]) -> tuple[Any, _Making]:
        cache, making = carry
        positions = jnp.where(making.is_done, -1, batch.positions + making.step)
        result = _forward.run(
            model,
            weights,
            making.last[:, None],
            positions[:, None],
            cache,
            batch.rows.adapters,
        )
        return result.cache, _with_one(making, result.logits[:, 0], batch, max_top)

    def goes_on(carry: tuple[Any, _Making]) -> Bool[""]:
        making = carry[1]
        return (making.step < num_steps) & ~jnp.all(making.is_done)

    cache = _paged_cache.with_rows(state.pool, batch.page_tables)
    start = _start(state, batch, max_steps, max_top)
    cache, making = jax.lax.while_loop(goes_on, make_one, (cache, start))
    return _end(state, cache, making)


def verify(
    weights: Weights,
    state: DeviceState,
    batch: DecodeBatch,
    drafts: Int["b d"],
    *,
    model: nn.CausalLM,
    max_top: int,
) -> tuple[DeviceState, Sampled]:
    """Makes the tokens that `decode` would, as long as the drafts are the same ones.

    All drafts are read at once. Of each row come the drafts that are right, and one token
    more.

    Args:
      weights: Of the model.
      state: It is used up.
      batch: Where the answers are.
      drafts: Tokens that may be next; -1 is none.
      model: The decoder.
      max_top: The most likeliest tokens that are told of each.
    """
    num_tokens = drafts.shape[1] + 1
    tokens = jnp.concatenate([batch.tokens[:, None], drafts], axis=1)
    steps = jnp.arange(num_tokens, dtype=jnp.int32)
    # A row is read as far as it may be kept.
    is_read = (tokens >= 0) & (steps < batch.limits[:, None])
    is_read &= batch.positions[:, None] >= 0
    positions = jnp.where(is_read, batch.positions[:, None] + steps, -1)
    cache = _paged_cache.with_rows(state.pool, batch.page_tables)
    result = _forward.run(
        model,
        weights,
        jnp.maximum(tokens, 0),
        positions,
        cache,
        batch.rows.adapters,
    )
    expected = jnp.pad(drafts, ((0, 0), (0, 1)), constant_values=-1)

    def make_one(_: Int[""], making: _Making) -> _Making:
        step = making.step
        logits = result.logits[:, step]
        making = _with_one(making, logits, batch, max_top)
        is_wrong = making.last != expected[:, step]
        return making._replace(is_done=making.is_done | is_wrong)

    start = _start(state, batch, num_tokens, max_top)
    making = jax.lax.fori_loop(0, num_tokens, make_one, start)
    return _end(state, result.cache, making)


def _start(
    state: DeviceState, batch: DecodeBatch, max_steps: int, max_top: int
) -> _Making:
    num_rows = batch.tokens.shape[0]
    return _Making(
        history=jax.tree.map(lambda x: x[:num_rows], state.history),
        last=batch.tokens,
        is_done=batch.positions < 0,
        made=_none_made(num_rows, max_steps, max_top),
        step=jnp.int32(0),
    )


def _with_one(
    making: _Making, logits: Float["b v"], batch: DecodeBatch, max_top: int
) -> _Making:
    """Returns where the rows are with one more token of those that go on."""
    step, is_done = making.step, making.is_done
    choice = _sampling.choose(
        logits, batch.rows, making.history, batch.index + step, max_top=max_top
    )
    token = jnp.where(is_done, -1, choice.tokens)
    is_stop = jnp.any(token[:, None] == batch.stop_ids, axis=-1)
    made = Sampled(**(choice._asdict() | {"tokens": token}))
    return _Making(
        history=making.history.with_tokens(token),
        last=jnp.where(is_done, making.last, token),
        is_done=is_done | is_stop | (step + 1 >= batch.limits),
        made=jax.tree.map(
            lambda all_of, one: all_of.at[:, step].set(one), making.made, made
        ),
        step=step + 1,
    )


def _end(
    state: DeviceState, cache: Any, making: _Making
) -> tuple[DeviceState, Sampled]:
    num_rows = making.last.shape[0]
    history = jax.tree.map(
        lambda old, new: old.at[:num_rows].set(new), state.history, making.history
    )
    return DeviceState(_paged_cache.without_rows(cache), history), making.made


def _none_made(num_rows: int, max_steps: int, max_top: int) -> Sampled:
    shape = (num_rows, max_steps)
    return Sampled(
        tokens=jnp.full(shape, -1, jnp.int32),
        logprobs=jnp.zeros(shape, jnp.float32),
        drawn_logprobs=jnp.zeros(shape, jnp.float32),
        top_tokens=jnp.full((*shape, max_top), -1, jnp.int32),
        top_logprobs=jnp.zeros((*shape, max_top), jnp.float32),
    )


def set_history(
    weights: Weights,
    state: DeviceState,
    slot: Int[""],
    prompt: Int["*k"],
    answer: Int["*k"],
    is_first: Bool[""],
) -> DeviceState:
    """Returns the state with tokens of a slot; -1 is none.

    Args:
      weights: Not read.
      state: It is used up.
      slot: Which.
      prompt: Tokens of the prompt.
      answer: Tokens of the answer.
      is_first: Whether what was known of the slot before is forgotten.
    """
    del weights
    in_prompt, counts = state.history
    vocab_size = counts.shape[1]
    prompt = jnp.where(prompt < 0, vocab_size, prompt)
    answer = jnp.where(answer < 0, vocab_size, answer)
    was_in = jnp.where(is_first, False, in_prompt[slot])
    count = jnp.where(is_first, 0, counts[slot])
    history = _sampling.History(
        in_prompt.at[slot].set(was_in.at[prompt].set(True, mode="drop")),
        counts.at[slot].set(count.at[answer].add(1, mode="drop")),
    )
    return state._replace(history=history)


def copy_pages(
    weights: Weights, state: DeviceState, source: Int["*k"], target: Int["*k"]
) -> DeviceState:
    """Returns the state in which pages were copied."""
    del weights
    pool = _paged_cache.copy_pages(state.pool, source, target)
    return state._replace(pool=pool)
