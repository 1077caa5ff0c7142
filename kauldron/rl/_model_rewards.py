"""Rewards that another model gives."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kauldron import kontext, lm, step
from kauldron.ktyping import Float, PyTree
from kauldron.rl._rewards import Answer, Reward, RewardError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LikelihoodReward(Reward):
    """How likely another language model finds the answer: nats for each of its tokens.

    It is the mean of their log-probabilities after the prompt, at most 0. An answer
    without any token is taken for one token of an even guess.

    Attributes:
      judge: The model, such as `kd.lm.text_generator("smollm2")`; texts become tokens by
        its own tokenizer.
      window: The most tokens of prompt and answer that it reads at once.
    """

    judge: lm.TextGenerator
    window: int = 512

    def values(self, answers: Sequence[Answer]) -> list[float]:
        return [self._value(answer) for answer in answers]

    def _value(self, answer: Answer) -> float:
        judge = self.judge
        of_answer = judge.tokenizer.encode(answer.text)
        if not len(of_answer):
            return -math.log(judge.model.vocab_size)
        tokens = np.concatenate([judge.tokens(answer.prompt), of_answer])
        logprobs = lm.token_logprobs(
            judge.model, judge.params, tokens, window=self.window
        )
        return float(np.mean(logprobs[-len(of_answer) :], dtype=np.float64))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierReward(Reward):
    """What a classifier of texts, or a reward model, says of prompt and answer.

    The model reads rows: `batch.tokens`, `batch.positions` and `batch.segment_ids`,
    `i32[b length]`, where its keys point to.

    Attributes:
      model: Flax module with keys.
      params: Its parameters.
      tokenizer: Its tokenizer.
      key: What it says, such as `"preds.logits"`: `f[b]`, the reward, or `f[b classes]`,
        logits of which the reward is the probability of `label`.
      length: Tokens of a row; of what is longer, the end is kept.
      label: Of logits, the class.

    Raises:
      RewardError: In `values`, if what is under the key has another shape.
    """

    model: Any
    params: PyTree = dataclasses.field(repr=False)
    tokenizer: lm.Tokenizer
    key: str
    length: int = 512
    label: int = 1

    def values(self, answers: Sequence[Answer]) -> np.ndarray:
        rows = {
            name: np.zeros((len(answers), self.length), np.int32)
            for name in ("tokens", "positions", "segment_ids")
        }
        for i, answer in enumerate(answers):
            tokens = self._tokens(answer)[-self.length :]
            rows["tokens"][i, : len(tokens)] = tokens
            rows["positions"][i, : len(tokens)] = np.arange(len(tokens))
            rows["segment_ids"][i, : len(tokens)] = 1
        found = np.asarray(self._run(self.params, rows))
        if found.shape != (len(answers),):
            raise RewardError(
                f"`key={self.key!r}` of ClassifierReward must be a number, or logits, "
                f"for each of {len(answers)} rows: got an array of shape {found.shape}."
            )
        return found

    def _tokens(self, answer: Answer) -> np.ndarray:
        of_answer = self.tokenizer.encode(answer.text)
        if isinstance(answer.prompt, str):
            has_bos = self.tokenizer.special.adds_bos
            prompt = self.tokenizer.encode(answer.prompt, add_bos=has_bos)
        else:
            template = lm.ChatTemplate.of(self.tokenizer)
            prompt = template.encode(
                self.tokenizer, answer.prompt, add_generation_prompt=True
            )
        return np.concatenate([prompt, of_answer])

    @functools.cached_property
    def _run(self) -> Any:
        def run(params: PyTree, rows: dict[str, jax.Array]) -> Float["..."]:
            context = step.Context(step=0, batch=rows, params=params, collections={})
            context = step.forward(
                context, model=self.model, rngs={}, is_training=False
            )
            found = kontext.get_by_path(context, self.key)
            if found.ndim == 2:
                return jax.nn.softmax(found.astype(np.float32), axis=-1)[:, self.label]
            return found

        return jax.jit(run)
