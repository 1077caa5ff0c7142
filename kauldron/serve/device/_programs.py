"""`Programs`: what is compiled of one model for serving, and what it keeps on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kauldron import lm
from kauldron import modules as nn
from kauldron.ktyping import Int, PyTree
from kauldron.serve.device import (
    _adapters,
    _forward,
    _kernels,
    _layers,
    _paged_cache,
    _paged_kernels,
    _placement,
    _reading,
    _sampling,
    _steps,
)
from kauldron.serve.device._rows import (
    DecodeBatch,
    PrefillBatch,
    RowParams,
    Sampled,
    Scored,
)

KINDS = ("prefill", "decode", "verify", "score", "embed")
# Programs that go on from what another one has read, and leave the state as it is.
_HEADS = ("score", "embed")
# Tokens, and pages, that one call of a small program takes; more take more calls.
_NUM_TOKENS = 512
_NUM_COPIES = 8


class Programs:
    """Compiled programs of a model, and the pages of keys and values that they use up.

    Batches are NumPy arrays of fixed shapes, so that nothing is compiled after
    `warm_up`. What a row becomes depends on nothing of the others. Parameters that are
    split over the axis `tensor` of a mesh split the pages with them.

    With `owns_params`, the parameters are given away: on a CPU, kernels are kept as decoding
    steps read them fastest, and deleted where they come from. With `attention="kernel"`,
    decoding reads pages by JAX's kernel for GPU or TPU. With a `precision`, the model computes
    in its dtypes. On a CPU, layers that are alike have one copy of their block in a program,
    but with a `precision`.

    Prompts are read but for their last token. It is the first one of a decode batch: all
    tokens of answers come from `decode` and `verify`.

    Attributes:
      model: The decoder.
      num_pages: Of the pool.
      page_size: Tokens of a page.
      num_slots: Rows of the widest decode batch.
      decode_widths: Numbers of rows a decode batch may have.
      prefill_rows: Rows of a prefill batch.
      chunk_sizes: Tokens a row of a prefill batch may have.
      prefill_shapes: Rows and tokens of a row of all prefill batches: besides, as many
        tokens as the largest has in rows of the smallest, for many short prompts.
      max_pages_per_row: Of a page table.
      max_steps: The most steps of one decode call.
      max_stop_ids: The most stop tokens of a row.
      max_bias: The most tokens of a row that have a bias.
      max_top_logprobs: Of how many of the likeliest tokens log-probabilities are told.
      adapters: Name to the index that rows have in `adapters`; 0 is none.
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
        adapters: Mapping[str, tuple[lm.LoRA, PyTree]] | None = None,
        owns_params: bool = False,
        attention: _paged_kernels.Attention = "gather",
        precision: Any = None,
        rounds: bool = False,
    ) -> None:
        adapters = adapters or {}
        self.model, self._precision, self._rounds = model, precision, rounds
        self.adapters = {name: i for i, name in enumerate(adapters, start=1)}
        self._adapters = _adapters.stacked(adapters, params)
        mesh = _placement.mesh_of(params)
        # Kernels that are split over devices stay as they are.
        self._takes_kernels = mesh is None
        self._turns_kernels = owns_params and jax.default_backend() == "cpu"
        # A training has a copy for each layer, and is to round where its rollouts do.
        self._has_one_copy = (
            mesh is None and precision is None and _layers.have_one_copy(model, params)
        )
        self.set_params(params, owns_params=owns_params)
        self.num_pages, self.page_size = num_pages, page_size
        self.num_slots, self.max_pages_per_row = num_slots, max_pages_per_row
        widths = {width for width in decode_widths if width < num_slots}
        self.decode_widths = (*sorted(widths), num_slots)
        self.prefill_rows, self.chunk_sizes = prefill_rows, tuple(sorted(chunk_sizes))
        self.prefill_shapes = prefill_shapes(prefill_rows, self.chunk_sizes)
        self.max_steps, self.max_stop_ids = max_steps, max_stop_ids
        self.max_bias, self.max_top_logprobs = max_bias, max_top_logprobs
        self._programs: dict[Any, Any] = {}
        make_state = functools.partial(self._make_state, cache_dtype, attention)
        self._places = _placement.of_state(jax.eval_shape(make_state), mesh)
        self._state: Any = jax.jit(make_state, out_shardings=self._places)()

    def _make_state(
        self, dtype: Any, attention: _paged_kernels.Attention
    ) -> _steps.DeviceState:
        pool = _paged_cache.make_pool(
            self.model,
            num_pages=self.num_pages,
            page_size=self.page_size,
            dtype=dtype,
            attention=attention,
            is_one=self._has_one_copy,
        )
        vocab_size = self.model.vocab_size
        return _steps.DeviceState(
            pool, _sampling.History.empty(self.num_slots, vocab_size)
        )

    @property
    def num_cache_bytes(self) -> int:
        """Memory of the pages."""
        return sum(x.nbytes for x in jax.tree.leaves(self._state.pool))

    def set_params(self, params: PyTree, *, owns_params: bool = False) -> None:
        """Takes other parameters, in place of those it has, which it lets go.

        Args:
          params: Of the same shapes and dtypes; `None` for none until others come.
          owns_params: Whether they are given away; their kernels are deleted then.
        """
        kernels: dict[str, Any] = {}
        if params is not None and self._takes_kernels:
            params = _placement.on_one_device(params)
            params, kernels = _kernels.taken_out(
                self.model,
                params,
                turns=self._turns_kernels,
                owns_params=owns_params,
            )
        self._weights = _forward.Weights(params, kernels, self._adapters, self._rounds)

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

    def empty_drafts(self, width: int) -> np.ndarray:
        """Returns no drafts, to be written to: `i32[width, max_steps - 1]` of -1."""
        return np.full((width, self.max_steps - 1), -1, np.int32)

    def empty_prefill(self, chunk_size: int, rows: int | None = None) -> PrefillBatch:
        """Returns a prefill batch without tokens, to be written to.

        Args:
          chunk_size: Tokens of a row.
          rows: As `prefill_shapes` has them; by default `prefill_rows`.
        """
        rows = self.prefill_rows if rows is None else rows
        return PrefillBatch(
            tokens=np.zeros((rows, chunk_size), np.int32),
            positions=np.full((rows, chunk_size), -1, np.int32),
            page_tables=np.full((rows, self.max_pages_per_row), -1, np.int32),
            adapters=np.zeros(rows, np.int32),
        )

    def warm_up(self, kinds: Sequence[str] = KINDS) -> None:
        """Compiles the programs of these kinds."""
        for rows, size in self.prefill_shapes if "prefill" in kinds else ():
            self._program("prefill", self.empty_prefill(size, rows))
        for width in self.decode_widths:
            batch = self.empty_decode(width)
            if "decode" in kinds:
                self._program("decode", batch, np.int32(1))
            if "verify" in kinds:
                self._program("verify", batch, self.empty_drafts(width))
        for kind in set(kinds).intersection(_HEADS):
            batch = self.empty_prefill(self.chunk_sizes[-1])
            _, hidden = self._program("prefill", batch).out_info
            self._program(kind, hidden, batch.positions)
        self.set_history(0, [])
        self.copy_pages([0], [0])

    def prefill(self, batch: PrefillBatch) -> jax.Array:
        """Reads tokens into their pages. The call returns before that is done.

        Returns:
          What the head of the model reads of each, `f[b t d]`.
        """
        self._state, hidden = self._run("prefill", batch)
        return hidden

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
        self._state, sampled = self._run("decode", batch, np.int32(num_steps))
        return sampled

    def verify(self, batch: DecodeBatch, drafts: Int["b d"]) -> Sampled:
        """Makes the tokens that `decode` would, as long as the drafts are the same.

        Args:
          batch: Of a width of `decode_widths`.
          drafts: Of `empty_drafts`.

        Returns:
          Of each row the drafts that are right, and one token more.
        """
        self._state, sampled = self._run("verify", batch, drafts)
        return sampled

    def score(self, batch: PrefillBatch, targets: Int["b t"]) -> Scored:
        """Reads tokens into their pages, and says how likely the next ones were.

        Args:
          batch: Of the largest of `chunk_sizes`.
          targets: The token after each; -1 is none.
        """
        return self._read("score", batch, targets)

    def embed(self, batch: PrefillBatch) -> jax.Array:
        """Reads tokens into their pages; returns the sums of their last hidden states.

        Args:
          batch: Of the largest of `chunk_sizes`.
        """
        return self._read("embed", batch, batch.positions)

    def set_history(
        self, slot: int, prompt: Sequence[int], answer: Sequence[int] = ()
    ) -> None:
        """Says which tokens the row in a slot has, for its penalties.

        Args:
          slot: Which.
          prompt: Tokens of the prompt.
          answer: Tokens of the answer made before; those that `decode` makes are known.
        """
        longest = max(len(prompt), len(answer), 1)
        for start in range(0, longest, _NUM_TOKENS):
            parts = (_part(tokens, start, _NUM_TOKENS) for tokens in (prompt, answer))
            is_first = np.bool_(start == 0)
            self._state = self._run("history", np.int32(slot), *parts, is_first)

    def copy_pages(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Copies pages, each to the target of the same index.

        Args:
          source: Pages.
          target: As many other pages, none of them in `source`.
        """
        for start in range(0, len(source), _NUM_COPIES):
            parts = (_part(pages, start, _NUM_COPIES) for pages in (source, target))
            self._state = self._run("copy", *parts)

    def _run(self, kind: str, *batch: Any) -> Any:
        return self._program(kind, *batch)(self._weights, self._state, *batch)

    def _read(self, kind: str, batch: PrefillBatch, about: Int["b t"]) -> Any:
        hidden = self.prefill(batch)
        return self._program(kind, hidden, about)(self._weights, hidden, about)

    def _program(self, kind: str, *batch: Any) -> Any:
        """Returns the program for such a batch, which is compiled the first time."""
        key = kind, np.shape(jax.tree.leaves(batch)[0])
        if key not in self._programs:
            run, has_result = self._function(kind)
            run = _forward.in_precision(run, self._precision)
            if kind in _HEADS:
                lowered = jax.jit(run).lower(self._weights, *batch)
            else:
                places = (self._places, None) if has_result else self._places
                jitted = jax.jit(run, donate_argnums=1, out_shardings=places)
                lowered = jitted.lower(self._weights, self._state, *batch)
            self._programs[key] = lowered.compile()
        return self._programs[key]

    def _function(self, kind: str) -> tuple[Callable[..., Any], bool]:
        """Returns what a program computes, and whether it gives more than the state."""
        sizes = {"model": self.model, "max_top": self.max_top_logprobs}
        steps = {"max_steps": self.max_steps}
        partial = functools.partial
        return {
            "prefill": (partial(_steps.prefill, model=self.model), True),
            "decode": (partial(_steps.decode, **sizes, **steps), True),
            "verify": (partial(_steps.verify, **sizes), True),
            "score": (partial(_reading.score, **sizes), True),
            "embed": (_reading.embed, True),
            "history": (_steps.set_history, False),
            "copy": (_steps.copy_pages, False),
        }[kind]


def prefill_shapes(rows: int, sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Returns rows and tokens of a row of all prefill batches; see `Programs`."""
    most = rows * (sizes[-1] // sizes[0])
    return tuple(dict.fromkeys([*((rows, size) for size in sizes), (most, sizes[0])]))


def _part(values: Sequence[int], start: int, size: int) -> Int["*k"]:
    part = np.full(size, -1, np.int32)
    some = values[start : start + size]
    part[: len(some)] = some
    return part
