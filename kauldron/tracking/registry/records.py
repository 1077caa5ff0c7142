"""What the registry answers with: one run, its numbers, its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

# Of a run: what `workdir/status.json` tells, and `unknown` without one.
Status = Literal["running", "done", "interrupted", "failed", "unknown"]

Scalar = bool | int | float | str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricValue:
    """A metric of a run, as the registry keeps it; all its steps are in the workdir.

    Attributes:
      last: Newest value.
      last_step: Its step.
      best: Best value, by `mode`; of finite ones.
      best_step: Its step.
      mode: Which values are better; `None` if that is not known, then `best` is the last.
    """

    last: float
    last_step: int
    best: float
    best_step: int
    mode: Literal["min", "max"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run.

    Attributes:
      id: `run_0012`: a number of its workspace, never given twice.
      name: How people call it; the end of its workdir unless it was named.
      project: Its project.
      family: A group of experiments of the project, or nothing.
      experiment: One approach.
      workdir: Where it is.
      status: How it stands.
      is_alive: Whether a process is at it, as far as can be told.
      step: Updates so far.
      num_steps: Updates that it is to make.
      started: Seconds since 1970.
      ended: Seconds since 1970 of the last sign of life.
      message: Why it failed or was interrupted.
      tags: Words by which it is found.
      archived: Whether lists leave it out.
      parameters: Values of its config, by path, such as `optimizer.learning_rate`.
      metrics: `collection.metric`, such as `eval.accuracy`, to its values.
    """

    id: str
    name: str
    project: str
    experiment: str
    workdir: str
    status: Status
    is_alive: bool
    step: int
    num_steps: int
    started: float
    ended: float
    family: str = ""
    message: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False
    parameters: Mapping[str, Scalar]
    metrics: Mapping[str, MetricValue]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric over the steps of a run.

    Attributes:
      steps: Rising.
      values: As many.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
