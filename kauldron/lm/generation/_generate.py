"""`generate`: prompts as tokens in, tokens out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import modules as nn
from kauldron._base import errors
from kauldron.ktyping import PyTree
from kauldron.lm.generation import _decoding, _sampling

# Shorter prompts, and fewer tokens to make, take the program of this many.
_LEAST = 16


class PromptError(errors.UserError, ValueError):
    """Prompts that a model cannot read."""


@dataclasses.dataclass(frozen=True)
class Generated:
    """What was generated for one prompt.

    Attributes:
      tokens: The tokens, without the one that ended it.
      logprobs: Their log-probabilities under the model, before temperature and cuts.
      finish_reason: Whether a stop token came, or the most tokens were made.
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    finish_reason: Literal["stop", "length"]


def generate(
    model: nn.CausalLM,
    params: PyTree,
    prompts: Sequence[Sequence[int] | np.ndarray],
    *,
    max_tokens: int = 128,
    sampling: _sampling.Sampling = _sampling.Sampling(),
    seeds: int | Sequence[int] = 0,
    stop_ids: Sequence[int] = (),
    context_length: int | None = None,
    cache_dtype: Any = None,
) -> list[Generated]:
    """Returns how a model goes on with each prompt.

    What a row becomes depends on its prompt and seed alone, not on the others. Programs
    are compiled once for a model, a number of rows, and the next powers of 2 of the
    longest prompt and of `max_tokens`.

    Args:
      model: The decoder.
      params: Its parameters.
      prompts: Tokens of each prompt, of any lengths >= 1.
      max_tokens: The most tokens to make, >= 1.
      sampling: How tokens are chosen; by default the most likely.
      seeds: Of each row; of a number, row `i` gets `seeds + i`.
      stop_ids: Tokens that end a row.
      context_length: The most tokens of a row, prompt included; `None` is no bound.
      cache_dtype: In which keys and values are kept; by default f32.

    Raises:
      PromptError: If there is no prompt, an empty one, a token that the model does not
        have, or more tokens than the context has room for. Nothing is compiled then.
    """
    run = _Run(
        model, params, prompts, max_tokens, sampling, seeds, stop_ids, context_length
    )
    return run.results(run.decode(run.prefill(cache_dtype), max_tokens))


def stream(
    model: nn.CausalLM,
    params: PyTree,
    prompt: Sequence[int] | np.ndarray,
    *,
    max_tokens: int = 128,
    sampling: _sampling.Sampling = _sampling.Sampling(),
    seed: int = 0,
    stop_ids: Sequence[int] = (),
    context_length: int | None = None,
    cache_dtype: Any = None,
    every: int = 4,
) -> Iterator[int]:
    """Yields the tokens that `generate` returns, as they are made.

    Args:
      model: See `generate`, as all others but `every`.
      params: Its parameters.
      prompt: Tokens of the prompt.
      max_tokens: The most tokens to make.
      sampling: How tokens are chosen.
      seed: Of the draws.
      stop_ids: Tokens that end it.
      context_length: The most tokens of a row.
      cache_dtype: In which keys and values are kept.
      every: How many tokens are made between two looks at them.
    """
    run = _Run(
        *(model, params, [prompt], max_tokens, sampling, [seed], stop_ids),
        context_length,
    )
    return _tokens(run, run.prefill(cache_dtype), max_tokens, every)


def _tokens(
    run: _Run, state: _decoding.Decoding, max_tokens: int, every: int
) -> Iterator[int]:
    given = 0
    for until in [*range(every, max_tokens, every), max_tokens]:
        state = run.decode(state, until)
        (result,) = run.results(state)
        yield from result.tokens[given:].tolist()
        given = len(result.tokens)
        if result.finish_reason == "stop":
            return


class _Run:
    """Prompts that were checked, and what the programs need."""

    def __init__(
        self,
        model: nn.CausalLM,
        params: PyTree,
        prompts: Sequence[Sequence[int] | np.ndarray],
        max_tokens: int,
        sampling: _sampling.Sampling,
        seeds: int | Sequence[int],
        stop_ids: Sequence[int],
        context_length: int | None,
    ) -> None:
        self._model, self._params, self._sampling = model, params, sampling
        self._stop_ids = _padded(stop_ids)
        rows = [np.asarray(prompt) for prompt in prompts]
        check_prompts(rows, model.vocab_size)
        self._lengths = np.array([row.size for row in rows], np.int32)
        _check_room(self._lengths, max_tokens, _room(model, context_length))
        self._seeds = _seeds(seeds, len(rows))
        self._buffer = _bucket(max_tokens)
        width = _bucket(int(self._lengths.max()))
        if model.max_positions is not None:
            width = min(width, model.max_positions + 1)
        self._tokens = np.zeros((len(rows), width), np.int32)
        for line, row in zip(self._tokens, rows, strict=True):
            line[: row.size] = row

    def prefill(self, cache_dtype: Any) -> _decoding.Decoding:
        return _decoding.prefill(
            self._params,
            jnp.asarray(self._tokens),
            jnp.asarray(self._lengths),
            model=self._model,
            num_slots=self._tokens.shape[1] + self._buffer,
            max_tokens=self._buffer,
            cache_dtype=cache_dtype,
        )

    def decode(self, state: _decoding.Decoding, until: int) -> _decoding.Decoding:
        return _decoding.decode(
            self._params,
            state,
            jnp.int32(until),
            self._seeds,
            self._stop_ids,
            self._sampling.cuts(self._model.vocab_size),
            model=self._model,
            is_greedy=self._sampling.is_greedy,
        )

    def results(self, state: _decoding.Decoding) -> list[Generated]:
        tokens, logprobs, num_made, is_done = jax.device_get(
            (state.tokens, state.logprobs, state.num_made, state.is_done)
        )
        return [
            Generated(
                tokens[i, : n - done],
                logprobs[i, : n - done],
                "stop" if done else "length",
            )
            for i, (n, done) in enumerate(zip(num_made, is_done, strict=True))
        ]


def _bucket(number: int) -> int:
    return max(_LEAST, 1 << (number - 1).bit_length())


def _padded(stop_ids: Sequence[int]) -> jax.Array:
    """Returns the ids in an array of a size that seldom changes."""
    # No token is -2; rows that have ended make -1.
    lacking = _bucket(max(len(stop_ids), 1)) - len(stop_ids)
    return jnp.asarray([*stop_ids, *[-2] * lacking], jnp.int32)


def _seeds(seeds: int | Sequence[int], num_rows: int) -> jax.Array:
    if isinstance(seeds, int | np.integer):
        seeds = range(int(seeds), int(seeds) + num_rows)
    if len(seeds) != num_rows:
        raise PromptError(f"Got {len(seeds)} seeds for {num_rows} prompts.")
    return jnp.asarray([seed % 2**32 for seed in seeds], jnp.uint32)


def _room(model: nn.CausalLM, context_length: int | None) -> int | None:
    bounds = [x for x in (context_length, model.max_positions) if x is not None]
    return min(bounds, default=None)


def check_prompts(rows: Sequence[np.ndarray], vocab_size: int) -> None:
    if not rows:
        raise PromptError("There is no prompt: give at least one.")
    for i, row in enumerate(rows):
        if row.size == 0:
            raise PromptError(
                f"Prompt {i} is empty: a model goes on after one token at least, such "
                "as the `bos` of its tokenizer."
            )
        if row.ndim != 1 or not np.issubdtype(row.dtype, np.integer):
            raise PromptError(
                f"Prompt {i} must be a list of token ids: got {row.dtype}"
                f"{list(row.shape)}."
            )
        wrong = row[(row < 0) | (row >= vocab_size)]
        if wrong.size:
            raise PromptError(
                f"Prompt {i} holds the token {wrong[0]}, and the model knows 0 to "
                f"{vocab_size - 1}. Is the tokenizer that of the model?"
            )


def _check_room(lengths: np.ndarray, max_tokens: int, room: int | None) -> None:
    if max_tokens < 1:
        raise PromptError(f"`max_tokens` must be >= 1: got {max_tokens}.")
    longest = int(lengths.argmax())
    if room is not None and lengths[longest] + max_tokens > room:
        raise PromptError(
            f"Prompt {longest} has {lengths[longest]} tokens, and {max_tokens} more are "
            f"asked for (`max_tokens`): the model has room for {room}. Shorten the "
            "prompt, or ask for fewer."
        )
