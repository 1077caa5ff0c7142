"""Rows of runs, as they are read: what is selected, and the run that it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kauldron.tracking.registry.records import MetricValue, Run, Status
from kauldron.workdir import run_status


def id_of(number: int) -> str:
    """Returns the id of a run: `run_0012`."""
    return f"run_{number:04d}"


def number_of(id: str) -> int:
    """Returns the number in the id of a run."""
    return int(id.removeprefix("run_"))


class _Decoded(Mapping[str, Any]):
    """A mapping that is read from JSON when it is first looked into.

    Lists of many runs show a few values of each.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._values: Mapping[str, Any] | None = None

    def _read(self) -> Mapping[str, Any]:
        if self._values is None:
            values: Mapping[str, Any] = json.loads(self._text) if self._text else {}
            self._values = values
        return self._values

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(dict(self))


class _Metrics(_Decoded):
    """Metrics of a run, see `metrics_text`."""

    def __getitem__(self, key: str) -> MetricValue:
        last, last_step, best, best_step, mode = self._read()[key]
        return MetricValue(
            last=last, last_step=last_step, best=best, best_step=best_step, mode=mode
        )


def metrics_text(metrics: Mapping[str, MetricValue]) -> str:
    """Returns metrics as they are kept beside a run."""
    return json.dumps(
        {
            k: (m.last, m.last_step, m.best, m.best_step, m.mode)
            for k, m in metrics.items()
        }
    )


class Row(NamedTuple):
    """What is read of a run, see `COLUMNS`."""

    id: int
    name: str
    workdir: str
    state: Status
    pid: int
    host: str
    step: int
    num_steps: int
    started: float
    heartbeat: float
    message: str
    archived: bool
    parameters: str
    metrics: str
    project: str
    experiment: str
    family: str


# Of a run, in tables of their own.
GROUPS = ("project", "experiment", "family")
# The columns of `Row`, of the tables that are joined.
COLUMNS = ", ".join(
    f"coalesce({x}.name, '')" if x in GROUPS else f"run.{x}" for x in Row._fields
)
JOINED = (
    "run JOIN experiment ON run.experiment_id = experiment.id "
    "JOIN project ON experiment.project_id = project.id "
    "LEFT JOIN family ON experiment.family_id = family.id"
)


def to_run(row: Row, workdir: str, tags: Iterable[str]) -> Run:
    """Returns the run of a row."""
    return Run(
        id=id_of(row.id),
        name=row.name,
        project=row.project,
        family=row.family,
        experiment=row.experiment,
        workdir=workdir,
        status=row.state,
        is_alive=row.state == "running" and _is_alive(row),
        step=row.step,
        num_steps=row.num_steps,
        started=row.started,
        ended=row.heartbeat,
        message=row.message,
        tags=tuple(sorted(tags)),
        archived=bool(row.archived),
        parameters=_Decoded(row.parameters),
        metrics=_Metrics(row.metrics),
    )


def _is_alive(row: Row) -> bool:
    """Whether a process is at a run that says that it is running."""
    status = run_status.RunStatus(
        state="running",
        run_id="",
        first_step=0,
        step=row.step,
        last_step=row.num_steps,
        pid=row.pid,
        host=row.host,
        started=row.started,
        heartbeat=row.heartbeat,
    )
    return status.is_alive
