"""`Programs`: what is compiled of one model for serving, and what it keeps on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kauldron import modules as nn
from kauldron.ktyping import Int, PyTree
from kauldron.serve.device import _paged_cache, _sampling, _steps
from kauldron.serve.device._rows import DecodeBatch, PrefillBatch, RowParams, Sampled

# Tokens, and pages, that one call of a small program takes; more take more calls.
_NUM_TOKENS = 512
_NUM_COPIES = 8


class Programs:
    """Compiled programs of a model, and the pages of keys and values that they use up.

    Batches are NumPy arrays of fixed shapes, so that nothing is compiled after
    `warm_up`. What a row becomes depends on nothing of the others.

    Attributes:
      model: The decoder.
      num_pages: Of the pool.
      page_size: Tokens of a page.
      num_slots: Rows of the widest decode batch.
      decode_widths: Numbers of rows a decode batch may have.
      prefill_rows: Rows of a prefill batch.
      chunk_sizes: Tokens a row of a prefill batch may have.
      max_pages_per_row: Of a page table.
      max_steps: The most steps of one decode call.
      max_stop_ids: The most stop tokens of a row.
      max_bias: The most tokens of a row that have a bias.
      max_top_logprobs: Of how many of the likeliest tokens log-probabilities are told.
    """

    def __init__(
        self,
        model: nn.CausalLM,
        params: PyTree,
        *,
        num_pages: int,
        page_size: int = 16,
        num_slots: int = 16,
        max_pages_per_row: int,
        decode_widths: Sequence[int] = (1, 4),
        prefill_rows: int = 4,
        chunk_sizes: Sequence[int] = (16, 64),
        max_steps: int = 8,
        max_stop_ids: int = 16,
        max_bias: int = 300,
        max_top_logprobs: int = 20,
        cache_dtype: Any = None,
    ) -> None:
        self.model, self._params = model, params
        self.num_pages, self.page_size = num_pages, page_size
        self.num_slots, self.max_pages_per_row = num_slots, max_pages_per_row
        widths = {width for width in decode_widths if width < num_slots}
        self.decode_widths = (*sorted(widths), num_slots)
        self.prefill_rows, self.chunk_sizes = prefill_rows, tuple(sorted(chunk_sizes))
        self.max_steps, self.max_stop_ids = max_steps, max_stop_ids
        self.max_bias, self.max_top_logprobs = max_bias, max_top_logprobs
        self._programs: dict[Any, Any] = {}
        make_state = functools.partial(self._make_state, cache_dtype)
        self._state: Any = jax.jit(make_state)()

    def _make_state(self, dtype: Any) -> _steps.DeviceState:
        pool = _paged_cache.make_pool(
            self.model,
            num_pages=self.num_pages,
            page_size=self.page_size,
            dtype=dtype,
        )
        vocab_size = self.model.vocab_size
        return _steps.DeviceState(
            pool, _sampling.History.empty(self.num_slots, vocab_size)
        )

    @property
    def num_cache_bytes(self) -> int:
        """Memory of the pages."""
        return sum(x.nbytes for x in jax.tree.leaves(self._state.pool))

    def set_params(self, params: PyTree) -> None:
        """Takes other parameters, in place of those it has, which it lets go.

        Args:
          params: Of the same shapes and dtypes; `None` for none until others come.
        """
        self._params = params

    def rows(self, num_rows: int) -> RowParams:
        """Returns rows that take the most likely token, to be written to."""
        return RowParams.neutral(
            num_rows, vocab_size=self.model.vocab_size, max_bias=self.max_bias
        )

    def empty_decode(self, width: int) -> DecodeBatch:
        """Returns a decode batch of empty slots, to be written to."""

        def full(value: int, *shape: int) -> np.ndarray:
            return np.full((width, *shape), value, np.int32)

        return DecodeBatch(
            tokens=full(0),
            positions=full(-1),
            page_tables=full(-1, self.max_pages_per_row),
            limits=full(1),
            stop_ids=full(-2, self.max_stop_ids),
            index=full(0),
            rows=self.rows(width),
        )

    def empty_prefill(self, chunk_size: int) -> PrefillBatch:
        """Returns a prefill batch without tokens, to be written to."""
        rows = self.prefill_rows
        return PrefillBatch(
            tokens=np.zeros((rows, chunk_size), np.int32),
            positions=np.full((rows, chunk_size), -1, np.int32),
            page_tables=np.full((rows, self.max_pages_per_row), -1, np.int32),
            adapters=np.zeros(rows, np.int32),
        )

    def warm_up(self) -> None:
        """Compiles all programs."""
        for size in self.chunk_sizes:
            self._prefill_program(self.empty_prefill(size))
        for width in self.decode_widths:
            self._decode_program(self.empty_decode(width))
        self._history_program()
        self._copy_program()

    def prefill(self, batch: PrefillBatch) -> None:
        """Reads tokens into their pages. The call returns before that is done."""
        self._state = self._prefill_program(batch)(self._params, self._state, batch)

    def decode(self, batch: DecodeBatch, num_steps: int = 1) -> Sampled:
        """Makes up to `num_steps` tokens of each row.

        Args:
          batch: Of a width of `decode_widths`.
          num_steps: From 1 to `max_steps`.

        Returns:
          The tokens, which `get` waits for.
        """
        if not 1 <= num_steps <= self.max_steps:
            raise ValueError(
                f"`num_steps` must be from 1 to max_steps={self.max_steps}: got "
                f"{num_steps}."
            )
        program = self._decode_program(batch)
        self._state, sampled = program(
            self._params, self._state, batch, np.int32(num_steps)
        )
        return sampled

    def set_history(
        self, slot: int, prompt: Sequence[int], answer: Sequence[int] = ()
    ) -> None:
        """Says which tokens the row in a slot has, for its penalties.

        Args:
          slot: Which.
          prompt: Tokens of the prompt.
          answer: Tokens of the answer made before; those that `decode` makes are known.
        """
        program = self._history_program()
        longest = max(len(prompt), len(answer), 1)
        for start in range(0, longest, _NUM_TOKENS):
            parts = (_part(tokens, start, _NUM_TOKENS) for tokens in (prompt, answer))
            is_first = np.bool_(start == 0)
            self._state = program(self._state, np.int32(slot), *parts, is_first)

    def copy_pages(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Copies pages, each to the target of the same index.

        Args:
          source: Pages.
          target: As many other pages, none of them in `source`.
        """
        program = self._copy_program()
        for start in range(0, len(source), _NUM_COPIES):
            parts = (_part(pages, start, _NUM_COPIES) for pages in (source, target))
            self._state = program(self._state, *parts)

    def _prefill_program(self, batch: PrefillBatch) -> Any:
        run = functools.partial(_steps.prefill, model=self.model)
        key = ("prefill", batch.tokens.shape)
        return self._program(key, run, self._params, self._state, batch)

    def _decode_program(self, batch: DecodeBatch) -> Any:
        run = functools.partial(
            _steps.decode,
            model=self.model,
            max_steps=self.max_steps,
            max_top=self.max_top_logprobs,
        )
        key = ("decode", batch.tokens.shape)
        return self._program(key, run, self._params, self._state, batch, np.int32(1))

    def _history_program(self) -> Any:
        none = np.full(_NUM_TOKENS, -1, np.int32)
        return self._program(
            *("history", _steps.set_history, self._state),
            *(np.int32(0), none, none, np.bool_(True)),
        )

    def _copy_program(self) -> Any:
        none = np.full(_NUM_COPIES, -1, np.int32)
        return self._program("copy", _steps.copy_pages, self._state, none, none)

    def _program(self, key: Any, run: Callable[..., Any], *args: Any) -> Any:
        """Returns the program of a key, which is compiled the first time."""
        if key not in self._programs:
            place = next(i for i, x in enumerate(args) if x is self._state)
            jitted = jax.jit(run, donate_argnums=place)
            self._programs[key] = jitted.lower(*args).compile()
        return self._programs[key]


def _part(values: Sequence[int], start: int, size: int) -> Int["*k"]:
    part = np.full(size, -1, np.int32)
    some = values[start : start + size]
    part[: len(some)] = some
    return part
