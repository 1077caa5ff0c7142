"""Rows of runs: how a run is written to the tables, and read from them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kauldron.tracking.registry import _notes, _reading, _schema, _workdir_facts
from kauldron.tracking.registry.records import MetricValue, Run, Scalar, Status
from kauldron.workdir import run_status

# Arguments of Optax's schedules that say how high they are, the most telling first.
_OF_SCHEDULES = ("peak_value", "init_value", "value")


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
    """Metrics of a run, see `_metrics_text`."""

    def __getitem__(self, key: str) -> MetricValue:
        last, last_step, best, best_step, mode = self._read()[key]
        return MetricValue(
            last=last, last_step=last_step, best=best, best_step=best_step, mode=mode
        )


def _metrics_text(metrics: Mapping[str, MetricValue]) -> str:
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


class RunWriter:
    """Writes runs, inside of one transaction.

    Args:
      connection: Of the transaction.

    Attributes:
      reader: Sees what was written before, in the transaction.
    """

    def __init__(self, connection: Any) -> None:
        self.reader = _reading.SqlalchemyReader(connection)
        self._keys: dict[tuple[Any, ...], int] = {}  # of groups
        self._connection = connection
        self._t = _schema.tables()

    def project(self, name: str) -> int:
        """Returns the key of a project, which is made if there is none."""
        return self._group(self._t.project, {"name": clean(name)})

    def family(self, project: int, name: str) -> int:
        """Returns the key of a family, which is made if there is none."""
        return self._group(self._t.family, {"project_id": project, "name": clean(name)})

    def experiment(self, project: int, family: int | None, name: str) -> int:
        """Returns the key of an experiment, which is made if there is none."""
        key = self._group(
            self._t.experiment, {"project_id": project, "name": clean(name)}
        )
        if family is not None:
            table = self._t.experiment
            self._connection.execute(
                table.update().where(table.c.id == key).values(family_id=family)
            )
        return key

    def _group(self, table: Any, unique: dict[str, Any]) -> int:
        asked = (table.name, *unique.values())
        if asked in self._keys:
            return self._keys[asked]
        values = {**unique, "created": time.time()}
        same = " AND ".join(f"{column} = :{column}" for column in unique)
        found = f"SELECT id FROM {table.name} WHERE {same}"
        key = _reading.first(self.reader.rows(found, unique))
        if key is None:
            key = self._connection.execute(
                table.insert().values(values)
            ).inserted_primary_key[0]
        self._keys[asked] = key
        return key

    def take_number(self, wanted: int | None = None) -> int:
        """Returns a number that no run has had; the wanted one if that is free."""
        table = self._t.workspace
        following = _reading.first(self.reader.rows("SELECT next_run FROM workspace"))
        number = following if wanted is None else wanted
        self._connection.execute(
            table.update().values(next_run=max(following, number + 1))
        )
        return number

    def write(
        self,
        number: int,
        workdir: str,
        name: str,
        experiment: int,
        facts: _workdir_facts.Facts,
        notes: _notes.Notes,
        *,
        is_new: bool,
    ) -> None:
        """Writes everything that is known of a run."""
        table = self._t.run
        values = {
            "id": number,
            "experiment_id": experiment,
            "name": clean(name),
            "workdir": workdir,
            "state": facts.state,
            "pid": facts.pid,
            "host": clean(facts.host),
            "step": facts.step,
            "num_steps": facts.num_steps,
            "started": facts.started,
            "heartbeat": facts.heartbeat,
            "message": clean(facts.message),
            "archived": notes.archived,
            "mark": facts.mark,
            "parameters": json.dumps(dict(facts.parameters)),
            "metrics": _metrics_text(facts.metrics),
        }
        if is_new:
            self._connection.execute(table.insert().values(values))
        else:
            statement = table.update().where(table.c.id == number)
            self._connection.execute(statement.values(values))
        self._write_details(number, facts, notes, is_new=is_new)

    def _write_details(
        self,
        number: int,
        facts: _workdir_facts.Facts,
        notes: _notes.Notes,
        *,
        is_new: bool,
    ) -> None:
        t = self._t
        rows = {
            t.run_tag: [{"run_id": number, "tag": clean(x)} for x in set(notes.tags)],
            t.parameter: [
                {
                    "run_id": number,
                    "name": clean(name),
                    **_searched(name, facts.parameters),
                }
                for name in facts.parameters
            ],
            t.metric: [
                {
                    "run_id": number,
                    "name": clean(name),
                    "last": _finite(metric.last),
                    "best": _finite(metric.best),
                    "last_step": metric.last_step,
                    "best_step": metric.best_step,
                }
                for name, metric in facts.metrics.items()
            ],
        }
        for table, values in rows.items():
            if not is_new:
                self._connection.execute(table.delete().where(table.c.run_id == number))
            if values:
                self._connection.execute(table.insert(), values)


def _searched(name: str, parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    """Returns what a parameter is found by: of a schedule, its highest value, too."""
    value = parameters[name]
    if isinstance(value, bool):
        return {"number": float(value), "text": str(value).lower()}
    if isinstance(value, str):
        values = (parameters.get(f"{name}.{part}") for part in _OF_SCHEDULES)
        numbers = (
            x for x in values if isinstance(x, int | float) and not isinstance(x, bool)
        )
        return {"number": _to_float(next(numbers, None)), "text": clean(value)}
    return {"number": _to_float(value), "text": None}


def _to_float(value: int | float | None) -> float | None:
    if value is None:
        return None
    try:
        return _finite(float(value))
    except OverflowError:  # an integer beyond all floats
        return math.copysign(math.inf, value)


def _finite(value: float) -> float | None:
    """Returns a number; NaN, which is not comparable, is nothing."""
    return None if math.isnan(value) else value


def clean(text: str) -> str:
    """Returns a text as every database takes it."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
