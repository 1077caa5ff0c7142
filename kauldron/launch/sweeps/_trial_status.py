"""How a trial is doing: what its backend says, and what its run has left on disk."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Mapping
from typing import Any

from kauldron.launch import _log_ends
from kauldron.launch._backend import State, Status
from kauldron.workdir import run_status
from kauldron.workdir.run_status import RunStatus

_FLAWED = 3
_INTERRUPTED = 75


class TrialState(enum.StrEnum):
    """How a trial is doing, in a word."""

    WAITING = "waiting"  # was not started, or not by this sweep
    QUEUED = "queued"  # waits in a queue, or for somebody to start it
    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"  # saved; continues when it is started again
    LOST = "lost"  # killed; continues from its last checkpoint
    FAILED = "failed"

    @property
    def is_active(self) -> bool:
        """Whether it neither ended nor waits for this sweep."""
        return self in (TrialState.QUEUED, TrialState.RUNNING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """One look at a trial.

    Attributes:
      name: Of the trial.
      overrides: Path -> value, as on the command line.
      workdir: Directory of the run.
      log: What it printed.
      state: How it is doing.
      step: Updates applied; `None` if the run did not begin.
      last_step: Updates the run is to make in all.
      started: Of its last start, in seconds since 1970, if that is known.
      exit_code: Of its last end, if that is known.
      message: Why it failed, what is wrong with it though it is done, or why it was done
        before its last step.
      value: The best value of the metric so far.
      value_step: When that was measured.
    """

    name: str
    overrides: Mapping[str, str]
    workdir: str
    log: str
    state: TrialState
    step: int | None = None
    last_step: int | None = None
    started: float | None = None
    exit_code: int | None = None
    message: str = ""
    value: float | None = None
    value_step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {**dataclasses.asdict(self), "state": str(self.state)}


def judge(workdir: str, status: Status | None) -> tuple[TrialState, RunStatus | None]:
    """Returns how a trial is doing, and the status of its run.

    Args:
      workdir: Directory of the run.
      status: What the backend says of its last start, if there was any.
    """
    run = _read_status(workdir)
    if status is None:
        return _judge_by_run(run), run
    if status.state is State.RUNNING:
        return TrialState.RUNNING, run
    if status.state in (State.PENDING, State.GIVEN):
        is_alive = run is not None and run.is_alive  # started by somebody else
        return (TrialState.RUNNING if is_alive else TrialState.QUEUED), run
    if not os.path.isdir(workdir) and status.exit_code in (0, _FLAWED):
        return TrialState.WAITING, None  # it was removed, to be done again
    if status.exit_code in (0, _FLAWED):
        return TrialState.DONE, run
    if status.exit_code == _INTERRUPTED:
        return TrialState.INTERRUPTED, run
    if status.state is State.DONE:
        return TrialState.FAILED, run
    if run is not None and run.state == "done":
        return TrialState.DONE, run  # killed between its last word and its end
    if status.state is State.STOPPED:
        return TrialState.INTERRUPTED, run
    return TrialState.LOST, run


def _read_status(workdir: str) -> RunStatus | None:
    try:
        return run_status.read(workdir)
    except (ValueError, OSError):  # damaged: the run writes it anew
        return None


def _judge_by_run(run: RunStatus | None) -> TrialState:
    """Returns how a run is doing that was not started by a sweep."""
    if run is None:
        return TrialState.WAITING
    if run.is_alive:
        return TrialState.RUNNING
    if run.state == "running":
        return TrialState.LOST
    return {
        "done": TrialState.DONE,
        "interrupted": TrialState.INTERRUPTED,
        "failed": TrialState.FAILED,
    }[run.state]


def last_line(log: str) -> str:
    """Returns the last line that a trial printed; empty if there is none."""
    lines = [line.strip() for line in _log_ends.last_lines(log, 20) if line.strip()]
    hints = ("(--debug shows",)
    return next((x for x in reversed(lines) if not x.startswith(hints)), "")
