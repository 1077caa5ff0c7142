"""`Wandb`: runs of Weights & Biases, also without a network."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kauldron._base import extras
from kauldron.tracking.trackers import _tracked_run, _tracker

# The axis of every chart. W&B's own steps only rise: what comes late would be dropped.
_STEP = "step"
_MAX_TAG = 64
_EXIT_CODES = {"done": 0, "interrupted": 130, "failed": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wandb(_tracker.Tracker):
    """Keeps runs with Weights & Biases; a `Tracker`.

    Attributes:
      project: Name of the project.
      entity: User or team; unless given, that of the login.
      mode: `'offline'` keeps runs in `folder`, for `wandb sync`; unless given, what
        `WANDB_MODE` says.
      folder: Where W&B keeps files; unless given, the workdir of the run.
      name: Of the run; unless given, that of its workdir.
      tags: Words by which the run is found.
      parent: Id of the run that this one is a part of: they are a group.
    """

    project: str = "kauldron"
    entity: str | None = None
    mode: Literal["online", "offline"] | None = None
    folder: str | None = None
    name: str = ""
    tags: Sequence[str] = ()
    parent: str = ""

    def follow(self, name: str) -> Any:
        _load()  # here, and not while a training imports what it needs
        return super().follow(name)

    def start(self, run: _tracked_run.RunStart) -> _tracked_run.TrackedRun:
        wandb = _load()
        folder = self.folder or run.workdir or None
        if folder is not None:
            os.makedirs(folder, exist_ok=True)
        parent = run.parent or self.parent
        try:
            started = wandb.init(
                project=self.project,
                entity=self.entity,
                name=run.name,
                id=run.id or None,  # W&B makes one
                resume="allow" if run.id else None,
                mode=self.mode,
                dir=folder,
                group=parent or None,
                job_type="part" if parent else None,
                reinit="create_new",  # several at once, each on its own
                # Output is that of the training, and goes where it went.
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.errors.CommError as e:
            raise ConnectionError(f"Weights & Biases: {e}") from e
        started.define_metric("*", step_metric=_STEP)
        tracked = _WandbRun(started)
        tracked.set_tags(dict.fromkeys(self.tags, ""))
        return tracked


def _load() -> Any:
    return extras.load(
        "wandb", needed_by="Tracking with Weights & Biases", extra="wandb"
    )


class _WandbRun:
    """A run of W&B, whose own process keeps and sends what it is given."""

    def __init__(self, run: Any) -> None:
        self._run = run

    @property
    def id(self) -> str:
        return self._run.id

    def log_params(self, params: Mapping[str, _tracked_run.Scalar]) -> None:
        self._run.config.update(dict(params), allow_val_change=True)

    def log_metrics(self, points: Sequence[_tracked_run.Point]) -> None:
        for step, values, _ in points:
            self._run.log({**values, _STEP: step})

    def log_artifact(self, path: str | os.PathLike[str], name: str) -> None:
        import wandb

        artifact = wandb.Artifact(name.replace("/", "_"), type="file")
        if os.path.isdir(path):
            artifact.add_dir(os.fspath(path))
        else:
            artifact.add_file(os.fspath(path), name=name.rpartition("/")[2])
        self._run.log_artifact(artifact)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        words = [f"{name}:{value}" if value else name for name, value in tags.items()]
        kept = [word for word in words if len(word) <= _MAX_TAG]
        self._run.tags = tuple(dict.fromkeys([*(self._run.tags or ()), *kept]))
        for name, value in tags.items():  # the others are not cut
            if f"{name}:{value}" not in kept and name not in kept:
                self._run.summary[f"tags.{name}"] = value

    def end(self, status: _tracked_run.Outcome, message: str = "") -> None:
        self._run.summary["status"] = status
        if message:
            self._run.summary["message"] = message
        self._run.finish(exit_code=_EXIT_CODES[status])

    def last_steps(self) -> Mapping[str, int]:
        return {}  # W&B does not tell: what was delivered is kept in the workdir
