"""What the registry answers with: one run, its numbers, its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

# Of a run: what `workdir/status.json` tells, and `unknown` without one.
Status = Literal["running", "done", "interrupted", "failed", "unknown"]
STATUSES: tuple[Status, ...] = get_args(Status)

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Project:
    """The widest group of runs.

    Attributes:
      name: Unique in the workspace.
      description: What it is about.
      created: Seconds since 1970.
      num_runs: How many runs it has, archived ones too.
    """

    name: str
    description: str = ""
    created: float = 0.0
    num_runs: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """A group of experiments of a project.

    Attributes:
      name: Unique in its project.
      project: Name of the project.
      description: What its experiments have in common.
      created: Seconds since 1970.
      num_runs: How many runs it has, archived ones too.
    """

    name: str
    project: str
    description: str = ""
    created: float = 0.0
    num_runs: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One approach: the runs that are compared with each other.

    Attributes:
      name: Unique in its project.
      project: Name of the project.
      family: Name of the family, or nothing.
      description: What is tried.
      created: Seconds since 1970.
      num_runs: How many runs it has, archived ones too.
    """

    name: str
    project: str
    family: str = ""
    description: str = ""
    created: float = 0.0
    num_runs: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """Data under a name, so that nobody has to remember where it is.

    Attributes:
      name: Unique in the workspace.
      path: A file, a folder or a URL.
      fingerprint: Of its content when it was entered; empty of a URL.
      description: What it is.
      created: Seconds since 1970.
    """

    name: str
    path: str
    fingerprint: str = ""
    description: str = ""
    created: float = 0.0


# Of an artifact, in this order.
Stage = Literal["draft", "staging", "production", "archived"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """Something that a run has made and that is used elsewhere.

    Attributes:
      name: What versions have in common.
      version: 1, 2, ...
      path: A file, a folder or a URL.
      kind: Such as `model`, `export`, `report`.
      stage: How far it is trusted; of a name, one version at most is in production.
      tags: Words by which it is found.
      run: Id of the run that made it, or nothing.
      description: What it is.
      created: Seconds since 1970.
    """

    name: str
    version: int
    path: str
    kind: str = "model"
    stage: Stage = "draft"
    tags: tuple[str, ...] = ()
    run: str = ""
    description: str = ""
    created: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What was done to bring the registry up to date with workdirs.

    Attributes:
      added: Ids of runs that were new.
      updated: Ids of runs whose files had changed.
      unchanged: Ids of runs that were up to date.
      missing: Ids of runs of the folder whose workdir is gone; they are kept.
      problems: A line per file that is damaged or cannot be read.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def describe(self) -> str:
        """Returns the counts in a line."""
        parts = [
            f"{len(ids)} {word}"
            for word, ids in (
                ("added", self.added),
                ("updated", self.updated),
                ("unchanged", self.unchanged),
                ("whose workdir is gone", self.missing),
            )
            if ids
        ]
        return f"Runs: {', '.join(parts) or 'none'}."
