"""How runs are written to the tables: many at once, inside of one transaction."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Mapping
from typing import Any

from kauldron.tracking.registry import (
    _notes,
    _reading,
    _run_rows,
    _schema,
    _workdir_facts,
)
from kauldron.tracking.registry.records import Scalar

# Arguments of Optax's schedules that say how high they are, the most telling first.
_OF_SCHEDULES = ("peak_value", "init_value", "value")


class RunWriter:
    """Writes runs, inside of one transaction; `finish` is called at its end.

    Args:
      connection: Of the transaction.

    Attributes:
      reader: Sees what was written before, in the transaction.
    """

    def __init__(self, connection: Any) -> None:
        self.reader = _reading.SqlalchemyReader(connection)
        self._keys: dict[tuple[Any, ...], int] = {}  # of groups
        self._next_number: int | None = None  # once it was asked for
        # Of each run, which wait to be written at once.
        self._details: dict[int, tuple[list[dict[str, Any]], ...]] = {}
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
        if self._next_number is None:
            found = self.reader.rows("SELECT next_run FROM workspace")
            self._next_number = int(_reading.first(found))
        number = self._next_number if wanted is None else wanted
        self._next_number = max(self._next_number, number + 1)
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
        """Writes everything that is known of a run, some of it when it is finished."""
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
            "metrics": _run_rows.metrics_text(facts.metrics),
        }
        if is_new:
            self._connection.execute(table.insert(), values)
        else:
            statement = table.update().where(table.c.id == number)
            self._connection.execute(statement.values(values))
            for details in self._detail_tables:
                same = details.c.run_id == number
                self._connection.execute(details.delete().where(same))
        self._details[number] = _details(number, facts, notes)

    def finish(self) -> None:
        """Writes what waits, to be written at once: the transaction may end."""
        for table, rows in zip(
            self._detail_tables, zip(*self._details.values(), strict=True), strict=False
        ):
            if values := list(itertools.chain.from_iterable(rows)):
                self._connection.execute(table.insert(), values)
        self._details.clear()
        if self._next_number is not None:
            values = {"next_run": self._next_number}
            self._connection.execute(self._t.workspace.update().values(values))

    @property
    def _detail_tables(self) -> tuple[Any, ...]:
        return self._t.run_tag, self._t.parameter, self._t.metric


def _details(
    number: int, facts: _workdir_facts.Facts, notes: _notes.Notes
) -> tuple[list[dict[str, Any]], ...]:
    """Returns the rows of tags, parameters and metrics of a run."""
    return (
        [{"run_id": number, "tag": clean(x)} for x in set(notes.tags)],
        [
            {"run_id": number, "name": clean(name), **_searched(name, facts.parameters)}
            for name in facts.parameters
        ],
        [
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
    )


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
