"""The plainest host that programs can have: pages in turn, prompts in chunks, then steps."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from kauldron import kd
from kauldron.serve.device import _programs

GREEDY = kd.serve.SamplingParams(temperature=0)


@dataclasses.dataclass
class Answer:
    """One answer that is being made."""

    prompt: list[int]
    sampling: kd.serve.SamplingParams = GREEDY
    max_tokens: int = 9
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    adapter: int = 0
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    drawn_logprobs: list[float] = dataclasses.field(default_factory=list)
    pages: list[int] = dataclasses.field(default_factory=list)
    num_read: int = 0

    @property
    def all_tokens(self):
        return [*self.prompt, *self.tokens]

    @property
    def is_done(self):
        return len(self.tokens) >= self.max_tokens or bool(
            self.tokens and self.tokens[-1] in self.stop_ids
        )


class Host:
    """Gives out pages and runs programs; knows nothing of queues and frees nothing."""

    def __init__(self, programs: _programs.Programs):
        self.programs = programs
        self._pages = itertools.count()

    def prefill(self, *answers: Answer, chunk_size: int) -> None:
        """Reads all tokens but the last, in rows that are filled from all prompts."""
        parts = [part for a in answers for part in self._parts(a, chunk_size)]
        for start in range(0, len(parts), self.programs.prefill_rows):
            batch = self.programs.empty_prefill(chunk_size)
            some = parts[start : start + self.programs.prefill_rows]
            for i, (answer, first, tokens) in enumerate(some):
                batch.tokens[i, : len(tokens)] = tokens
                last = first + len(tokens)
                batch.positions[i, : len(tokens)] = np.arange(first, last)
                self._write_table(batch.page_tables[i], answer)
                batch.adapters[i] = answer.adapter
            self.programs.prefill(batch)

    def _parts(self, answer, chunk_size):
        tokens = answer.all_tokens[:-1]
        while len(answer.pages) * self.programs.page_size < self._room(answer):
            answer.pages.append(next(self._pages))
        for first in range(answer.num_read, len(tokens), chunk_size):
            yield answer, first, tokens[first : first + chunk_size]
        answer.num_read = len(tokens)

    def _room(self, answer):
        return len(answer.prompt) + answer.max_tokens

    def _write_table(self, line, answer):
        line[: len(answer.pages)] = answer.pages

    def batch(self, answers: list[Answer | None]):
        """Returns the decode batch of answers in slots."""
        widths = self.programs.decode_widths
        width = next(w for w in widths if w >= len(answers))
        batch = self.programs.empty_decode(width)
        for i, answer in enumerate(answers):
            if answer is None or answer.is_done:
                continue
            batch.tokens[i] = answer.all_tokens[-1]
            batch.positions[i] = len(answer.all_tokens) - 1
            self._write_table(batch.page_tables[i], answer)
            batch.limits[i] = answer.max_tokens - len(answer.tokens)
            batch.stop_ids[i, : len(answer.stop_ids)] = answer.stop_ids
            batch.index[i] = len(answer.tokens)
            batch.rows.put(i, answer.sampling, seed=answer.seed, adapter=answer.adapter)
        return batch

    def decode(self, answers: list[Answer | None], num_steps: int = 1) -> None:
        sampled = self.programs.decode(self.batch(answers), num_steps).get()
        for i, answer in enumerate(answers):
            if answer is None or answer.is_done:
                continue
            made = sampled.tokens[i] >= 0
            answer.tokens += sampled.tokens[i][made].tolist()
            answer.logprobs += sampled.logprobs[i][made].tolist()
            answer.drawn_logprobs += sampled.drawn_logprobs[i][made].tolist()

    def finish(self, *answers: Answer, chunk_size: int = 4, num_steps: int = 4) -> None:
        """Reads the prompts and makes all tokens, of all answers together."""
        self.prefill(*answers, chunk_size=chunk_size)
        for i, answer in enumerate(answers):
            if _has_penalty(answer.sampling):
                self.programs.set_history(i, answer.prompt, answer.tokens)
        while not all(answer.is_done for answer in answers):
            self.decode(list(answers), num_steps)


def _has_penalty(sampling):
    return (
        sampling.repetition_penalty != 1
        or sampling.frequency_penalty
        or sampling.presence_penalty
    )
