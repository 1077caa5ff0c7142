"""A visit of the device: from a plan to the arrays of its programs, and back to tokens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kauldron.serve.device._rows import DecodeBatch, PrefillBatch, Sampled
from kauldron.serve.engine._writer import AnswerWriter
from kauldron.serve.requests import SamplingParams, TokenLogprob
from kauldron.serve.scheduling._sequences import Plan, Sequence

_NONE = SamplingParams(temperature=0.0)


@dataclasses.dataclass(frozen=True)
class Made:
    """What was made in a visit.

    Attributes:
      tokens: Of each sequence.
      sampled: The arrays.
      slots: Row of each sequence in them.
      device_secs: Seconds that the host waited for the device.
    """

    tokens: Mapping[Sequence, list[int]]
    sampled: Sampled | None
    slots: Mapping[Sequence, int]
    device_secs: float = 0.0

    def logprobs(self, sequence: Sequence, num_top: int) -> list[TokenLogprob]:
        """Returns the log-probabilities of the tokens of a sequence."""
        assert self.sampled is not None
        row, s = self.slots[sequence], self.sampled
        return [
            TokenLogprob(
                token=token,
                logprob=float(s.logprobs[row, i]),
                drawn_logprob=float(s.drawn_logprobs[row, i]),
                top=tuple(
                    zip(
                        s.top_tokens[row, i, :num_top].tolist(),
                        s.top_logprobs[row, i, :num_top].tolist(),
                        strict=True,
                    )
                ),
            )
            for i, token in enumerate(self.tokens[sequence])
        ]


class Visits:
    """Does what plans say, with the programs of a model.

    Args:
      programs: `kauldron.serve.device` offers them.
      width_for: The width of the least program that has so many slots.
      max_steps: The most tokens of an answer that are made step by step in a visit.
      num_drafts: The most tokens of an answer that are drafted; 0 drafts none.
    """

    def __init__(
        self,
        programs: Any,
        width_for: Callable[[int], int],
        *,
        max_steps: int,
        num_drafts: int,
    ) -> None:
        self._programs, self._width_for = programs, width_for
        self._max_steps, self._num_drafts = max_steps, num_drafts
        self._adapters: dict[str | None, int] = {None: 0, **programs.adapters}
        self._batch: DecodeBatch = programs.empty_decode(programs.num_slots)
        self._owners: dict[int, Sequence] = {}

    def run(self, plan: Plan, writers: Mapping[Sequence, AnswerWriter]) -> Made:
        """Does what a plan says, and waits for the tokens.

        Args:
          plan: The plan.
          writers: Of the sequences in it.
        """
        if plan.copies:
            source, target = zip(*plan.copies, strict=True)
            self._programs.copy_pages(source, target)
        if plan.rows:
            self._programs.prefill(self._prefill_batch(plan, writers))
        for sequence in plan.started:
            self._start(sequence, writers[sequence])
        if not plan.decoding:
            return Made({}, None, {})
        drafts = self._drafts(plan, writers)
        steps = plan.num_steps if drafts else min(plan.num_steps, self._max_steps)
        batch = self._decode_batch(plan, writers, steps)
        begin = time.perf_counter()
        if drafts:
            sampled = self._programs.verify(batch, self._as_array(drafts, batch)).get()
        else:
            sampled = self._programs.decode(batch, steps).get()
        device_secs = time.perf_counter() - begin
        rows = sampled.tokens.tolist()
        slots = {s: s.slot for s in plan.decoding}
        tokens = {s: [t for t in rows[slot] if t >= 0] for s, slot in slots.items()}
        return Made(tokens, sampled, slots, device_secs)

    def _prefill_batch(
        self, plan: Plan, writers: Mapping[Sequence, AnswerWriter]
    ) -> PrefillBatch:
        batch = self._programs.empty_prefill(plan.shape.width, plan.shape.rows)
        for i, (sequence, start, length) in enumerate(plan.rows):
            batch.tokens[i, :length] = sequence.tokens[start : start + length]
            batch.positions[i, :length] = np.arange(start, start + length)
            batch.page_tables[i, : len(sequence.pages)] = sequence.pages
            batch.adapters[i] = self._adapters[writers[sequence].request.adapter]
        return batch

    def _start(self, sequence: Sequence, writer: AnswerWriter) -> None:
        """Writes what stays the same while a sequence is in its slot."""
        slot, sampling = sequence.slot, writer.request.sampling
        self._owners[slot] = sequence
        self._batch.rows.put(
            slot,
            sampling,
            seed=writer.seed,
            adapter=self._adapters[writer.request.adapter],
        )
        self._batch.rows.has_mask[slot] = writer.allowed is not None
        self._batch.stop_ids[slot] = -2
        self._batch.stop_ids[slot, : len(writer.stop_ids)] = writer.stop_ids
        if (
            sampling.repetition_penalty != 1
            or sampling.frequency_penalty
            or sampling.presence_penalty
        ):
            prompt = sequence.tokens[: sequence.num_prompt]
            answer = sequence.tokens[sequence.num_prompt :]
            self._programs.set_history(slot, prompt, answer)

    def _drafts(
        self, plan: Plan, writers: Mapping[Sequence, AnswerWriter]
    ) -> dict[Sequence, list[int]]:
        """Returns drafts, if it is worth to verify them rather than to make steps."""
        most = min(self._num_drafts, plan.num_steps - 1)
        if most < 1:
            return {}
        drafts = {s: writers[s].lookup.propose(most) for s in plan.decoding}
        found = {s: some for s, some in drafts.items() if some}
        # The others make one token in the same time.
        return found if 2 * len(found) > len(drafts) else {}

    def _as_array(
        self, drafts: Mapping[Sequence, list[int]], batch: DecodeBatch
    ) -> np.ndarray:
        array = self._programs.empty_drafts(len(batch.tokens))
        for sequence, some in drafts.items():
            array[sequence.slot, : len(some)] = some
        return array

    def _decode_batch(
        self, plan: Plan, writers: Mapping[Sequence, AnswerWriter], steps: int
    ) -> DecodeBatch:
        batch = self._batch
        self._forget(plan)
        batch.positions[:] = -1
        for s in plan.decoding:
            slot = s.slot
            batch.tokens[slot] = s.tokens[-1]
            batch.positions[slot] = len(s.tokens) - 1
            batch.limits[slot] = min(steps, s.room)
            batch.index[slot] = len(s.tokens) - s.num_prompt
            batch.page_tables[slot, : len(s.pages)] = s.pages
            batch.page_tables[slot, len(s.pages) :] = -1
            allowed = writers[s].allowed
            if allowed is not None:
                batch.rows.allowed[slot] = allowed
        width = self._width_for(max(s.slot for s in plan.decoding) + 1)
        return jax.tree.map(lambda x: x[:width], batch)

    def _forget(self, plan: Plan) -> None:
        """Lets slots that nobody has take the likeliest token, which costs nothing."""
        alive = set(plan.decoding)
        for slot, owner in list(self._owners.items()):
            if owner.slot != slot and owner not in alive:
                self._batch.rows.put(slot, _NONE)
                del self._owners[slot]
