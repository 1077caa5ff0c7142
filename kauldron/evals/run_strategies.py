"""Run strategies: when an evaluator runs."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from kauldron._base import arguments


class RunStrategy(arguments.NamesArguments, abc.ABC):
    """Decides at which steps of the training an evaluator runs.

    Attributes:
      is_along_train: Whether the evaluator runs inside the training process.
    """

    is_along_train: ClassVar[bool] = True

    @abc.abstractmethod
    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        """Whether to evaluate the state after `step` updates.

        Args:
          step: Number of updates applied.
          is_last: Whether this is the final state of the run.
        """

    def fits(self, last_step: int) -> bool:
        """Whether a run of so many steps is long enough for it; so told before it starts.

        Being asked at step 0 alone is not, unless that is what was wanted.

        Args:
          last_step: Number of updates of the whole run.
        """
        del last_step
        return True


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

    def fits(self, last_step: int) -> bool:
        return self.n <= last_step or (last_step == 0 and not self.skip_first)


@dataclasses.dataclass(frozen=True)
class Once(AlongTrain):
    """At one step.

    Attributes:
      step: Number of updates applied before the evaluation, >= 0.
    """

    step: int

    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        return step == self.step

    def fits(self, last_step: int) -> bool:
        return self.step <= last_step


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standalone(RunStrategy):
    """Base of strategies that run in a separate process, alongside the training.

    That process is started with the names of its evaluators:
    `python -m kauldron.main --cfg=... --eval_names=a,b`. The fields describe it to
    programs that start processes, as those of `kxm.Job` do; the evaluation does not read
    them, and they stay as they are when the config is resolved.

    Attributes:
      job_group: Evaluators of the same group share a process; `None` for a separate
        one.
      target: Program.
      priority: Priority of the process.
      platform: Accelerators, such as `'a100=1'`.
      cell: Where it runs.
      citc_source: Version of the code.
      use_interpreter: Whether it runs from source.
      interpreter_info: Interpreter.
      constraints: Constraints on the machine.
      requirements: Resources.
      executor: How it is started.
      args: Arguments of the program.
      env_vars: Environment.
      files: Files it needs.
      add_jax_flags: Whether JAX's flags are passed on.
      bazel_args: Arguments of the build.
      debug: What to record while it runs.
    """

    job_group: str | None = None
    target: str = ""
    priority: int = 200
    platform: Any = None
    cell: str | None = None
    citc_source: Any = None
    use_interpreter: bool = False
    interpreter_info: Any = None
    constraints: Sequence[Any] = ()
    requirements: Any = None
    executor: Any = None
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    env_vars: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    add_jax_flags: bool = True
    bazel_args: Sequence[Any] = ()
    debug: Any = None

    is_along_train: ClassVar[bool] = False

    __konfig_resolve_exclude_fields__: ClassVar[tuple[str, ...]] = (
        *("target", "priority", "platform", "cell", "citc_source", "use_interpreter"),
        *("interpreter_info", "constraints", "requirements", "executor", "args"),
        *("env_vars", "files", "add_jax_flags", "bazel_args", "debug"),
    )

    def should_eval_in_train(self, step: int, *, is_last: bool = False) -> bool:
        return False

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandaloneEveryCheckpoint(Standalone):
    """In a separate process, on every checkpoint as it appears.

    Attributes:
      seconds_to_sleep: How often to look for checkpoints, in seconds, > 0.
    """

    seconds_to_sleep: float = 1

    def __post_init__(self) -> None:
        if not self.seconds_to_sleep > 0:
            raise ValueError(
                f"`seconds_to_sleep` must be more than 0: got {self.seconds_to_sleep}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandaloneLastCheckpoint(Standalone):
    """In a separate process, once, on the checkpoint of the final state."""
