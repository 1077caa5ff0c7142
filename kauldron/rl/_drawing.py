"""Drawing answers: prompts, parameters and seeds in, tokens and log-probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron import lm
from kauldron import modules as nn
from kauldron.ktyping import Float, Int, PyTree


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
    """Draws answers by a decoder; nothing of the parameters stays.

    Args:
      decoder: The model.
      stop_ids: Tokens that end an answer.
      max_tokens: The most tokens of an answer.
    """

    def __init__(
        self, decoder: nn.CausalLM, *, stop_ids: Sequence[int], max_tokens: int
    ) -> None:
        self._decoder = decoder
        self._stop_ids = tuple(stop_ids)
        self._max_tokens = max_tokens

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
        found = lm.generate(
            self._decoder,
            params,
            [prompt for prompt in prompts for _ in range(num_answers)],
            max_tokens=self._max_tokens,
            sampling=lm.Sampling(temperature=1.0),
            seeds=[seed + i for seed in seeds for i in range(num_answers)],
        )
        drawn = [self._until_end(one.tokens, one.logprobs) for one in found]
        return [drawn[i : i + num_answers] for i in range(0, len(drawn), num_answers)]

    def _until_end(self, tokens: np.ndarray, logprobs: np.ndarray) -> Drawn:
        (ends,) = np.nonzero(np.isin(tokens, self._stop_ids))
        length = int(ends[0]) + 1 if len(ends) else len(tokens)
        return Drawn(tokens[:length], logprobs[:length], not len(ends))

    def close(self) -> None:
        """Frees what the drawer holds."""
