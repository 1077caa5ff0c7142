"""Rewards that look at the text of an answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kauldron import lm
from kauldron.rl._rewards import Answer, Reward, RewardError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MatchReward(Reward):
    """1 for the answer that is expected, 0 for others; see `kd.lm.ExactMatch`.

    Attributes:
      target: Key of the element with the answer, or with several that are right.
      pattern: Regular expression of the answer within the text; the last match counts.
      ignores_case: Whether capitals matter not.
      ignores_punctuation: Whether only letters, digits and single spaces are compared.

    Raises:
      ValueError: If the pattern is no regular expression.
    """

    target: str
    pattern: str | None = None
    ignores_case: bool = False
    ignores_punctuation: bool = False

    def __post_init__(self) -> None:
        _ = self._match

    @property
    def _match(self) -> lm.ExactMatch:
        return lm.ExactMatch(
            targets=self.target,
            pattern=self.pattern,
            ignores_case=self.ignores_case,
            ignores_punctuation=self.ignores_punctuation,
        )

    def values(self, answers: Sequence[Answer]) -> list[float]:
        match = self._match
        targets = [self.value_of(answer.element, self.target) for answer in answers]
        return [
            float(match.is_match(answer.text, target))
            for answer, target in zip(answers, targets, strict=True)
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RegexReward(Reward):
    """1 for a text in which a regular expression is found, 0 for others.

    Attributes:
      pattern: The expression.
      is_whole: Whether it has to match the whole text, but for space around it.

    Raises:
      RewardError: If the pattern is no regular expression.
    """

    pattern: str
    is_whole: bool = True

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as e:
            raise RewardError(
                f"`pattern` of RegexReward is no regular expression: {self.pattern!r} "
                f"({e})."
            ) from None

    def values(self, answers: Sequence[Answer]) -> list[float]:
        find = re.fullmatch if self.is_whole else re.search
        return [
            float(find(self.pattern, answer.text.strip()) is not None)
            for answer in answers
        ]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FormatReward(Reward):
    """Share of instructions that a text follows, of those that a program can check.

    Attributes:
      instructions: Dicts with their `kind`, one of `kd.lm.INSTRUCTIONS`, and the numbers
        or words that it takes: `{"kind": "max_words", "number": 50}`.

    Raises:
      ValueError: If there is no instruction, one is unknown, or lacks something.
    """

    instructions: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if not self.instructions:
            raise RewardError("`instructions` of FormatReward is empty.")
        self._share("a")

    def _share(self, text: str) -> float:
        metric = lm.InstructionFollowing(instructions="batch.instructions")
        return metric(preds=[text], instructions=[self.instructions])["instruction"]

    def values(self, answers: Sequence[Answer]) -> list[float]:
        return [self._share(answer.text) for answer in answers]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LengthReward(Reward):
    """1 for an answer of the right length, falling to 0 over `slope` tokens beyond.

    With `weight=-1` and the bounds of what is too long, it punishes.

    Attributes:
      at_least: Tokens that an answer should have.
      at_most: Tokens that it should not exceed; `None` for no bound.
      slope: Tokens beyond a bound for which nothing is left, >= 1.

    Raises:
      RewardError: If a number is out of range; in `values`, if only texts are known.

    Reference: Yu et al. 2025, DAPO, eq. 13 (soft overlong punishment), arXiv:2503.14476,
    shifted by 1.
    """

    at_least: int = 0
    at_most: int | None = None
    slope: int = 1

    def __post_init__(self) -> None:
        bound = float("inf") if self.at_most is None else self.at_most
        if self.slope < 1 or not 0 <= self.at_least <= bound:
            raise RewardError(
                "LengthReward needs slope >= 1 and 0 <= at_least <= at_most: got "
                f"slope={self.slope}, at_least={self.at_least}, at_most={self.at_most}."
            )

    def values(self, answers: Sequence[Answer]) -> list[float]:
        return [self._value(answer) for answer in answers]

    def _value(self, answer: Answer) -> float:
        count = answer.num_tokens
        if count is None:
            raise RewardError(
                "LengthReward counts tokens, and only the text of this answer is known: "
                "leave it out of `kd.rl.MeanReward`."
            )
        excess = self.at_least - count
        if self.at_most is not None:
            excess = max(excess, count - self.at_most)
        return min(1.0, max(0.0, 1 - excess / self.slope))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FunctionReward(Reward):
    """What a Python function says.

    Attributes:
      function: From the text and the element of the prompt to a number.
    """

    function: Callable[[str, Mapping[str, Any]], float]

    def values(self, answers: Sequence[Answer]) -> list[float]:
        return [float(self.function(a.text, a.element)) for a in answers]
