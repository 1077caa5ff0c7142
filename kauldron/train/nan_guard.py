"""`NanGuard`: what to do when a loss or a gradient is not finite."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
from etils import epath

from kauldron import checkpoints, sharding
from kauldron._base import arguments, console, errors
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.step import finiteness


class NonfiniteError(FloatingPointError):
    """A run was stopped because a value was not finite."""


class NanGuardError(errors.UserError, ValueError):
    """A guard that does not fit the run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NanGuard(arguments.NamesArguments):
    """Looks at the loss and the gradients of every step, without waiting for them.

    A step that meets a NaN or an infinite value changes nothing, and neither do those
    already dispatched after it. The first non-finite tensor is named, the state before
    the step and its batch are saved in `workdir/nan_<step>/` for `kauldron run replay`,
    and then:

    - `'stop'`: the run fails with `NonfiniteError`.
    - `'skip'`: the run continues with the next batch. The step counts as one of
      `num_train_steps`, has its random keys and its batch; parameters, optimizer state
      and collections stay as they were.
    - `'roll_back'`: as `'skip'`, and the parameters, optimizer state and collections
      are those of the newest checkpoint. Step and data move on: the same batches would
      lead to the same failure.

    Attributes:
      policy: What happens.
      max_events: After how many such steps (since the process started) the run fails
        regardless of the policy, >= 1.
    """

    policy: Literal["stop", "skip", "roll_back"] = "stop"
    max_events: int = 10

    def __post_init__(self) -> None:
        policies = ("stop", "skip", "roll_back")
        if self.policy not in policies:
            raise NanGuardError(
                f"`NanGuard.policy` is one of {policies}: got {self.policy!r}."
                + errors.did_you_mean(str(self.policy), policies)
            )
        if self.max_events < 1:
            raise NanGuardError(
                f"`NanGuard.max_events` must be at least 1: got {self.max_events}."
            )

    def check(self, trainer: base.Run) -> None:
        """Raises if the policy cannot be followed in this run."""
        if self.policy == "roll_back" and not trainer.checkpointer.saves:
            raise NanGuardError(
                "`NanGuard(policy='roll_back')` needs checkpoints: set "
                "`cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=...)`."
            )


@dataclasses.dataclass(frozen=True)
class ReplayState(checkpoints.items.TopLevelCheckpointItem):
    """What is saved of a step that met a value that is not finite."""

    train_state: TrainState
    batch: Any

    DEFAULT_ITEM: ClassVar[str] = "train_state"


def replay_checkpointer(workdir: epath.Path, step: int) -> checkpoints.Checkpointer:
    """Returns what saves and restores the `ReplayState` of a step."""
    return checkpoints.Checkpointer(
        workdir=workdir / f"nan_{step}", save_interval_steps=1
    )


class Recovery:
    """Follows the policy of a run's guard."""

    def __init__(self, trainer: base.Run, guard: NanGuard) -> None:
        self._trainer = trainer
        self._guard = guard
        self._finder = finiteness.Finder(trainer.trainstep._step)
        self._num_events = 0

    def after(self, step: int, state: TrainState, batch: Any) -> TrainState:
        """Returns the state to continue with after a step that changed nothing.

        Args:
          step: The step.
          state: The state before it; used up.
          batch: Its batch.

        Raises:
          NonfiniteError: If the run is to stop.
        """
        guard, trainer = self._guard, self._trainer
        self._num_events += 1
        with sharding.allowing_transfers(), trainer.sharding.set_global_mesh():
            found = self._finder.find(state, batch)
            message = _describe(step, found) + self._save(step, state, batch)
            if guard.policy == "stop" or self._num_events > guard.max_events:
                raise NonfiniteError(message)
            if guard.policy == "roll_back":
                state, origin = self._restore(state, message)
                message += f" Going on with the parameters of step {origin}."
            console.warn(message)
            # Not its neighbour's number: each step has its own random keys.
            where = getattr(state.step, "sharding", None)
            count = sharding.device_put(np.int32(step + 1), where)
            return dataclasses.replace(state, step=count)

    def _save(self, step: int, state: TrainState, batch: Any) -> str:
        workdir = self._trainer.workdir
        try:
            checkpointer = replay_checkpointer(workdir, step)
            if step in checkpointer.all_steps:
                checkpointer.delete(step)
            checkpointer.save(ReplayState(state, batch), step=step, force=True)
            checkpointer.close()
        except OSError as e:
            return f" The state and the batch could not be saved ({e})."
        return (
            f" State and batch are saved: `kauldron run replay --workdir={workdir} "
            f"--step={step}` repeats the step."
        )

    def _restore(self, state: TrainState, message: str) -> tuple[TrainState, int]:
        checkpointer = self._trainer.checkpointer
        checkpointer.wait_until_finished()
        origin = checkpointer.latest_step
        if origin is None:
            raise NonfiniteError(f"{message} There is no checkpoint yet to go back to.")
        return checkpointer.restore(state, step=origin), origin


def _describe(step: int, found: list[finiteness.Nonfinite]) -> str:
    if not found:
        return (
            f"Step {step} met a value that is not finite, but not when it was repeated: "
            "the hardware, or a sum that was added in another order."
        )
    others = f" ({len(found) - 1} more follow from there on)" if len(found) > 1 else ""
    return f"Step {step}: the first value that is not finite is {found[0]}{others}."
