"""`MLflow`: runs in a database or on a server of MLflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kauldron.contrib.train import mlflow_runs
from kauldron.tracking.trackers import _tracked_run, _tracker


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLflow(_tracker.Tracker):
    """Keeps runs with MLflow; a `Tracker`.

    Parameters and tags that are longer than MLflow keeps are whole in the artifact
    `long_values.json`; an infinite metric is also a tag.

    Attributes:
      uri: A server, or a database such as `sqlite:///mlflow.db`; unless given, what
        `MLFLOW_TRACKING_URI` says.
      experiment: Name of the experiment; made if it does not exist.
      name: Of the run; unless given, that of its workdir.
      tags: Of the run.
      parent: Id of the run that this one is a part of.
    """

    uri: str | None = None
    experiment: str = "kauldron"
    name: str = ""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parent: str = ""

    def follow(self, name: str) -> Any:
        mlflow_runs.load()  # here, and not while a training imports what it needs
        return super().follow(name)

    def start(self, run: _tracked_run.RunStart) -> _tracked_run.TrackedRun:
        server: Any = mlflow_runs.MlflowServer(self.uri)
        return server.start(
            experiment=self.experiment,
            name=run.name,
            id=run.id,
            parent=run.parent or self.parent,
            tags={**self.tags, **({"workdir": run.workdir} if run.workdir else {})},
        )
