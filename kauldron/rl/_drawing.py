"""Drawing answers: prompts, parameters and seeds in, tokens and log-probabilities out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron import lm, serve
from kauldron.ktyping import Float, Int, PyTree

_PAGE_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An answer as tokens.

    Attributes:
      tokens: `i32[k]`, the one that ended it included.
      logprobs: `f32[k]`, of each under the distribution it was drawn from.
      is_cut: Whether nothing ended it within the most tokens.
    """

    tokens: Int["*k"]
    logprobs: Float["*k"]
    is_cut: bool


class Drawer:
    """Draws answers by an engine of its own; of the parameters nothing stays.

    The same prompts, seeds and parameters give the same bits: requests begin together,
    there is one program for all rows, and pages enough that none has to begin again.

    Args:
      generator: The model, with parameters of the right shapes.
      length: The most tokens of prompt and answer.
      max_tokens: The most tokens of an answer.
      num_slots: Answers that are written at the same time.
      max_answers: The most that are drawn at once.
      precision: In which the model computes; `None` for the dtypes of its parameters.
    """

    def __init__(
        self,
        generator: lm.TextGenerator,
        *,
        length: int,
        max_tokens: int,
        num_slots: int,
        max_answers: int,
        precision: Any = None,
    ) -> None:
        self._max_tokens = max_tokens
        num_slots = min(num_slots, max_answers)
        self._engine = serve.Engine(
            generator,
            num_slots=num_slots,
            context_length=length,
            page_size=_PAGE_SIZE,
            num_pages=num_slots * math.ceil(length / _PAGE_SIZE),
            decode_widths=(),
            chunk_sizes=(min(64, length),),
            max_waiting=max_answers,
            precision=precision,
            warm_up=False,
        )

    def draw(
        self,
        params: PyTree,
        prompts: Sequence[np.ndarray],
        seeds: Sequence[int],
        num_answers: int,
    ) -> list[list[Drawn]]:
        """Returns answers to each prompt.

        Args:
          params: Of the decoder.
          prompts: Tokens of each.
          seeds: Of each prompt; its answer `i` has the seed `seeds + i`.
          num_answers: To each prompt.
        """
        requests = [
            serve.Request(
                prompt=tuple(prompt.tolist()),
                sampling=serve.SamplingParams(
                    max_tokens=self._max_tokens, seed=seed, n=num_answers, logprobs=0
                ),
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        self._engine.set_params(params)
        try:
            found = self._engine.answer(requests)
        finally:
            # The next step uses their arrays up.
            self._engine.set_params(None)
        return [[_drawn(answer) for answer in answers] for answers in found]

    def close(self) -> None:
        """Ends the engine."""
        self._engine.shutdown(drain=False)


def _drawn(answer: serve.Answer) -> Drawn:
    return Drawn(
        np.array(answer.tokens, np.int32),
        np.array([one.drawn_logprob for one in answer.logprobs], np.float32),
        answer.finish_reason == "length",
    )
