"""What a reward is, and the sum of several."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron._base import arguments, errors

# Of the weighted sum, beside the rewards by name.
TOTAL = "total"
# What else is told of answers under a name.
NUM_TOKENS, CUT = "num_tokens", "cut"


class RewardError(errors.UserError, ValueError):
    """A reward that can't be given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a reward is given for.

    Attributes:
      prompt: A text or messages, as the element has it.
      text: The answer, without the token that ended it.
      element: All that belongs to the prompt, such as the answer that is expected.
      num_tokens: Tokens of the answer; `None` where only its text is known.
      is_cut: Whether it had no end within the most tokens; `None` if that is not known.
    """

    prompt: Any
    text: str
    element: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_tokens: int | None = None
    is_cut: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reward(arguments.NamesArguments, abc.ABC):
    """Base of rewards: how good answers are.

    Attributes:
      weight: Factor in the sum of rewards.

    Example:

    ```python
    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
    class Shortness(kd.rl.Reward):
        def values(self, answers):
            return [1 / (1 + len(answer.text)) for answer in answers]
    ```
    """

    weight: float = 1.0

    @abc.abstractmethod
    def values(self, answers: Sequence[Answer]) -> Sequence[float] | np.ndarray:
        """Returns the reward of each answer, before the weight."""

    def value_of(self, element: Mapping[str, Any], key: str) -> Any:
        """Returns what an element has under a key.

        Raises:
          RewardError: If there is no such key.
        """
        if key not in element:
            raise RewardError(
                f"{type(self).__name__} looks for {key!r} in the element of a prompt, "
                f"which has {sorted(element)}.{errors.did_you_mean(key, element)}"
            )
        return element[key]


def check_rewards(rewards: Mapping[str, Reward], owner: str) -> None:
    """Raises `RewardError` unless there are rewards that can be told apart."""
    if not isinstance(rewards, Mapping) or not rewards:
        raise RewardError(
            f"`rewards` of {owner} must be a dict of rewards by name, such as "
            f"`{{'match': kd.rl.MatchReward(target='answer')}}`: got {rewards!r}."
        )
    for name, reward in rewards.items():
        if not isinstance(reward, Reward):
            raise RewardError(
                f"`rewards[{name!r}]` of {owner} must be a `kd.rl.Reward`: got "
                f"{reward!r}. `kd.rl.FunctionReward(function=...)` makes one of a "
                "function."
            )
    for name in (TOTAL, NUM_TOKENS, CUT):
        if name in rewards:
            raise RewardError(
                f"`rewards[{name!r}]` of {owner} has a name that is taken: what is "
                f"measured of answers has the names {[TOTAL, NUM_TOKENS, CUT]}. Give it "
                "another one."
            )


def measure(
    rewards: Mapping[str, Reward], answers: Sequence[Answer]
) -> dict[str, np.ndarray]:
    """Returns each reward of each answer, `f32[n]`, and under `"total"` their sum.

    Raises:
      RewardError: If a reward gives another number of values, or one is not finite.
    """
    found: dict[str, np.ndarray] = {}
    total = np.zeros(len(answers), np.float32)
    for name, reward in rewards.items():
        values = np.asarray(reward.values(answers), np.float32)
        if values.shape != (len(answers),):
            raise RewardError(
                f"The reward {name!r} must give a number for each answer: got an array "
                f"of shape {values.shape} for {len(answers)} answers."
            )
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise RewardError(
                f"The reward {name!r} is {values[first]} for the answer "
                f"{answers[first].text!r} to {answers[first].prompt!r}: rewards must be "
                "finite."
            )
        found[name] = values
        total += np.float32(reward.weight) * values
    return {**found, TOTAL: total}
