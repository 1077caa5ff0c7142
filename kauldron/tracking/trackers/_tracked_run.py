"""`TrackedRun`: what a tracker keeps of a run, and what it is told."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from kauldron._base import errors

Outcome = Literal["done", "interrupted", "failed"]
Scalar = bool | int | float | str


class TrackerError(errors.UserError, ValueError):
    """Something that a tracker cannot keep, or a run that it does not have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run that begins, or goes on.

    Attributes:
      name: How people call it.
      workdir: Where its files are; empty if it has none.
      id: Of the tracker's run that goes on; empty if it is a new one.
      parent: Id of the run that this one is a part of, or nothing.
      in_workdir: Whether the workdir gets status, config and metrics from someone else.
    """

    name: str
    workdir: str = ""
    id: str = ""
    parent: str = ""
    in_workdir: bool = False


class Point(NamedTuple):
    """What was measured at a step.

    Attributes:
      step: Number of updates.
      values: `collection.metric`, such as `eval.accuracy`, to its value.
      time: Seconds since 1970. Whoever logs a point again has to keep it.
    """

    step: int
    values: Mapping[str, float]
    time: float


class TrackedRun(Protocol):
    """A run, as a tracker keeps it.

    All methods raise `OSError` if the tracker cannot be reached now: the call may be made
    again, and what it has done already is not done twice. Other errors are for good.
    """

    @property
    def id(self) -> str:
        """By which it is found again."""
        ...

    def log_params(self, params: Mapping[str, Scalar]) -> None:
        """Keeps parameters; of a run that goes on, changes are noted."""

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Keeps measurements, in the order of their steps."""

    def log_artifact(self, path: str | os.PathLike[str], name: str) -> None:
        """Keeps a copy of a file, or of a folder."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Adds words by which the run is found."""

    def end(self, status: Outcome, message: str = "") -> None:
        """Says how the run has ended; everything logged is kept by then."""

    def last_steps(self) -> Mapping[str, int]:
        """Returns the newest step of each metric that the tracker has."""
        ...
