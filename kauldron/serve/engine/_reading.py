"""Prompts that are only looked at: how likely their tokens are, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kauldron.serve.requests import TokenLogprob


class Reader:
    """Reads whole prompts with the programs of an engine, in its thread.

    Args:
      programs: Of the model.
    """

    def __init__(self, programs: Any) -> None:
        self._programs = programs

    def num_pages(self, tokens: Sequence[int]) -> int:
        """Returns how many pages a prompt needs while it is read."""
        return -(-len(tokens) // self._programs.page_size)

    def logprobs(
        self, tokens: Sequence[int], pages: Sequence[int], adapter: int, num_top: int
    ) -> tuple[TokenLogprob, ...]:
        """Returns the log-probability of each token but the first.

        Args:
          tokens: Of the prompt, at least 2.
          pages: To be written to; as many as it needs.
          adapter: Index of the adapter.
          num_top: How many of the likeliest tokens are told.
        """
        after = np.append(np.asarray(tokens[1:], np.int32), -1)
        found: list[TokenLogprob] = []

        def read(batch: Any, parts: list[slice]) -> None:
            targets = np.full_like(batch.tokens, -1)
            for i, part in enumerate(parts):
                some = after[part]
                targets[i, : len(some)] = some
            scored = self._programs.score(batch, targets).get()
            for i, part in enumerate(parts):
                for j, token in enumerate(after[part].tolist()):
                    if token < 0:
                        return
                    logprob = float(scored.logprobs[i, j])
                    top = zip(
                        scored.top_tokens[i, j, :num_top].tolist(),
                        scored.top_logprobs[i, j, :num_top].tolist(),
                        strict=True,
                    )
                    found.append(
                        TokenLogprob(
                            token=token,
                            logprob=logprob,
                            drawn_logprob=logprob,
                            top=tuple(top),
                        )
                    )

        self._read(tokens, pages, adapter, read)
        return tuple(found)

    def embedding(self, tokens: Sequence[int], pages: Sequence[int]) -> np.ndarray:
        """Returns the mean of the last hidden states, of norm 1, `f32[d]`."""
        sums: list[np.ndarray] = []

        def read(batch: Any, parts: list[slice]) -> None:
            found = np.asarray(self._programs.embed(batch), np.float64)
            sums.append(found[: len(parts)].sum(axis=0))

        self._read(tokens, pages, 0, read)
        mean = np.sum(sums, axis=0) / len(tokens)
        return (mean / max(np.linalg.norm(mean), 1e-12)).astype(np.float32)

    def _read(
        self,
        tokens: Sequence[int],
        pages: Sequence[int],
        adapter: int,
        read: Callable[[Any, list[slice]], None],
    ) -> None:
        """Gives a prompt to `read`, batch after batch."""
        row = np.asarray(tokens, np.int32)
        for parts in self._batches(len(tokens)):
            batch = self._programs.empty_prefill(self._programs.chunk_sizes[-1])
            for i, part in enumerate(parts):
                some = row[part]
                batch.tokens[i, : len(some)] = some
                batch.positions[i, : len(some)] = np.arange(part.start, part.stop)
            batch.page_tables[: len(parts), : len(pages)] = pages
            batch.adapters[: len(parts)] = adapter
            read(batch, parts)

    def _batches(self, num_tokens: int) -> Iterator[list[slice]]:
        width, rows = self._programs.chunk_sizes[-1], self._programs.prefill_rows
        parts = [
            slice(start, min(start + width, num_tokens))
            for start in range(0, num_tokens, width)
        ]
        for i in range(0, len(parts), rows):
            yield parts[i : i + rows]
