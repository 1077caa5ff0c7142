"""Metrics of rollouts, and rewards as a metric of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array
from kauldron.rl import _rewards


@flax.struct.dataclass
class Means(metrics.State):
    """Means by name.

    Attributes:
      means: Name to mean.
    """

    means: dict[str, metrics.AverageState] = flax.struct.field(default_factory=dict)

    @classmethod
    def empty(cls) -> Means:
        return cls()

    def merge(self, other: Means) -> Means:
        merged = dict(self.means)
        for name, mean in other.means.items():
            merged[name] = merged[name].merge(mean) if name in merged else mean
        return dataclasses.replace(self, means=merged)

    def compute(self) -> dict[str, Any]:
        return {name: mean.compute() for name, mean in self.means.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutStatistics(metrics.Metric):
    """Means over the answers of a batch of `RolloutPipeline`.

    Attributes:
      rewards: Key to rewards by name, `{name: Array["*b"]}`.
      num_tokens: Key to how many tokens an answer has, `Array["*b"]`.
      is_cut: Key to whether it had no end within the most tokens, `Array["*b"]`.

    Returns of `compute`: each reward by its name, their weighted sum as `"total"`,
    `"num_tokens"`, and `"cut"`, the share of answers without an end.
    """

    rewards: kontext.Key = "batch.rewards"
    num_tokens: kontext.Key = "batch.num_tokens"
    is_cut: kontext.Key = "batch.is_cut"

    State = Means

    def get_state(
        self, rewards: Mapping[str, Array], num_tokens: Array, is_cut: Array
    ) -> Means:
        values = {**rewards, _rewards.NUM_TOKENS: num_tokens, _rewards.CUT: is_cut}
        return Means(
            means={
                name: metrics.AverageState.from_values(value)
                for name, value in values.items()
            }
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanReward(metrics.Metric):
    """Rewards of texts, as a metric of `kd.lm.GenerationEvaluator`.

    Attributes:
      rewards: Name to reward, as of `RolloutPipeline`.
      preds: Key to texts, a list of strings.
      elements: Key to the values that belong to them, lists by name.
      prompt_key: Which of them is the prompt.

    Returns of `compute`: each reward by its name, and their weighted sum as `"total"`.

    Raises:
      RewardError: If there is no reward, or one can't be given for a text.
    """

    rewards: Mapping[str, _rewards.Reward]
    preds: kontext.Key = "preds.text"
    elements: kontext.Key = "batch"
    prompt_key: str = "prompt"

    State = Means

    def __post_init__(self) -> None:
        super().__post_init__()
        _rewards.check_rewards(self.rewards, "MeanReward")

    def __metric_names__(self) -> list[str]:
        return [*self.rewards, _rewards.TOTAL]

    def get_state(
        self, preds: Sequence[str], elements: Mapping[str, Sequence[Any]]
    ) -> Means:
        of_each = [{k: v[i] for k, v in elements.items()} for i in range(len(preds))]
        answers = [
            _rewards.Answer(
                prompt=element.get(self.prompt_key), text=text, element=element
            )
            for text, element in zip(preds, of_each, strict=True)
        ]
        found = _rewards.measure(self.rewards, answers)
        return Means(
            means={
                name: metrics.AverageState(
                    total=np.float32(values.sum()), count=np.float32(len(values))
                )
                for name, values in found.items()
            }
        )
