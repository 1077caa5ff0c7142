"""When an evaluator runs."""

from __future__ import annotations

import abc
import dataclasses


class RunStrategy(abc.ABC):
    """Decides at which steps of the training an evaluator runs."""

    @abc.abstractmethod
    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        """Whether to evaluate the state after `step` updates.

        Args:
          step: Number of updates applied.
          is_last: Whether this is the final state of the run.
        """


class AlongTrain(RunStrategy):
    """Base of strategies that run inside the training process."""


@dataclasses.dataclass(frozen=True)
class EveryNSteps(AlongTrain):
    """At every step divisible by `n`.

    Attributes:
      n: Interval in steps, >= 1.
      skip_first: Whether to leave out step 0.
    """

    n: int
    skip_first: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"`EveryNSteps.n` must be at least 1: got {self.n}.")

    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        return step % self.n == 0 and not (self.skip_first and step == 0)


@dataclasses.dataclass(frozen=True)
class Once(AlongTrain):
    """At one step.

    Attributes:
      step: Number of updates applied before the evaluation, >= 0.
    """

    step: int

    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        return step == self.step


@dataclasses.dataclass(frozen=True)
class Final(AlongTrain):
    """At the end of the training, on the final state.

    Attributes:
      free_memory: Accepted for compatibility: compiled programs of the training step
        may be dropped first.
    """

    free_memory: bool = True

    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        return is_last
