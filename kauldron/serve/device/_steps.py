"""The functions that are compiled: a chunk of prompts is read, tokens are made."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import Bool, Int, PyTree
from kauldron.serve.device import _paged_cache, _sampling
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

    state: DeviceState
    last: Int["*b"]
    is_done: Bool["*b"]
    made: Sampled
    step: Int[""]


def prefill(
    params: PyTree, state: DeviceState, batch: PrefillBatch, *, model: nn.CausalLM
) -> DeviceState:
    """Returns the state in which the tokens are kept in their pages."""
    cache = _paged_cache.with_rows(state.pool, batch.page_tables)
    # The logits are not used, so the head is not computed.
    outputs = model.apply(
        {"params": params}, batch.tokens, batch.positions, None, cache
    )
    return state._replace(pool=_paged_cache.without_rows(outputs["cache"]))


def decode(
    params: PyTree,
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
      params: Of the model.
      state: It is used up.
      batch: Where the answers are.
      num_steps: From 1 to `max_steps`.
      model: The decoder.
      max_steps: The most steps.
      max_top: The most likeliest tokens that are told of each.
    """
    num_rows = batch.tokens.shape[0]
    whole = state.history
    state = DeviceState(
        pool=_paged_cache.with_rows(state.pool, batch.page_tables),
        history=jax.tree.map(lambda x: x[:num_rows], whole),
    )

    def make_one(making: _Making) -> _Making:
        step, is_done = making.step, making.is_done
        positions = jnp.where(is_done, -1, batch.positions + step)
        outputs = model.apply(
            {"params": params},
            making.last[:, None],
            positions[:, None],
            None,
            making.state.pool,
        )
        choice = _sampling.choose(
            outputs["logits"][:, 0],
            batch.rows,
            making.state.history,
            batch.index + step,
            max_top=max_top,
        )
        token = jnp.where(is_done, -1, choice.tokens)
        is_stop = jnp.any(token[:, None] == batch.stop_ids, axis=-1)
        made = {"tokens": token} | {
            name: getattr(choice, name)
            for name in Sampled.__dataclass_fields__
            if name != "tokens"
        }
        return _Making(
            state=DeviceState(
                outputs["cache"], making.state.history.with_tokens(token)
            ),
            last=jnp.where(is_done, making.last, token),
            is_done=is_done | is_stop | (step + 1 >= batch.limits),
            made=jax.tree.map(
                lambda all_of, one: all_of.at[:, step].set(one),
                making.made,
                Sampled(**made),
            ),
            step=step + 1,
        )

    def goes_on(making: _Making) -> Bool[""]:
        return (making.step < num_steps) & ~jnp.all(making.is_done)

    start = _Making(
        state=state,
        last=batch.tokens,
        is_done=batch.positions < 0,
        made=_none_made(num_rows, max_steps, max_top),
        step=jnp.int32(0),
    )
    end = jax.lax.while_loop(goes_on, make_one, start)
    history = jax.tree.map(
        lambda old, new: old.at[:num_rows].set(new), whole, end.state.history
    )
    pool = _paged_cache.without_rows(end.state.pool)
    return DeviceState(pool, history), end.made


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
    state: DeviceState,
    slot: Int[""],
    prompt: Int["*k"],
    answer: Int["*k"],
    is_first: Bool[""],
) -> DeviceState:
    """Returns the state with tokens of a slot; -1 is none.

    Args:
      state: It is used up.
      slot: Which.
      prompt: Tokens of the prompt.
      answer: Tokens of the answer.
      is_first: Whether what was known of the slot before is forgotten.
    """
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


def copy_pages(state: DeviceState, source: Int["*k"], target: Int["*k"]) -> DeviceState:
    """Returns the state in which pages were copied."""
    pool = _paged_cache.copy_pages(state.pool, source, target)
    return state._replace(pool=pool)
