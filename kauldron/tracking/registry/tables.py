"""Runs and named things as tables, JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kauldron._base import strict_json, text_tables
from kauldron.tracking.registry import _filters, _places, _queries, shown_values
from kauldron.tracking.registry.records import MetricValue, Run

_SHOWN = ("id", "name", "project", "experiment", "status", "step")
_OF_CSV = ("id", "name", "project", "family", "experiment", "status", "step")
_OF_CSV += ("num_steps", "started", "ended", "tags", "workdir")
# Metrics that are shown where nobody says which.
_NUM_METRICS = 2


def value_of(run: Run, name: str) -> Any:
    """Returns what a name stands for in a run, as in filters; `None` if it has none.

    Args:
      run: The run.
      name: Of a field, a metric (or `.best` and the like of it), a parameter.
    """
    if name in _queries.FIELDS:
        return getattr(run, name, None)
    if not name.startswith(_queries.OF_CONFIG):
        if name in run.metrics:
            return run.metrics[name].last
        start, _, part = name.rpartition(".")
        if part in _queries.PARTS and start in run.metrics:
            return getattr(run.metrics[start], part)
    return run.parameters.get(name.removeprefix(_queries.OF_CONFIG))


def named_columns(where: str | None, sort: str | None) -> list[str]:
    """Returns what a filter and an order speak of, besides what is shown anyway."""
    names = [] if where is None else _filters.names_in(_filters.parse(where))
    if sort is not None:
        names += [word.strip().removeprefix("-") for word in sort.split(",")]
    return [name for name in dict.fromkeys(names) if name and name not in _SHOWN]


def usual_columns(runs: Sequence[Run]) -> list[str]:
    """Returns what is shown of runs where nobody says which."""
    return shown_values.main_metrics(runs, count=_NUM_METRICS)


def runs_table(runs: Sequence[Run], columns: Sequence[str]) -> str:
    """Returns runs as lines, with these columns besides the usual ones."""
    head = [*_SHOWN, *columns, "tags"]
    rows = [head]
    for run in runs:
        cells = [
            run.id,
            run.name,
            run.project,
            run.experiment,
            status(run),
            _steps(run),
        ]
        cells += [_shown(value_of(run, name), name) for name in columns]
        rows.append([*cells, " ".join(run.tags)])
    return text_tables.aligned(rows, right=range(len(_SHOWN) - 1, len(head) - 1))


def status(run: Run) -> str:
    """Returns how a run stands, in a word or two."""
    state = shown_values.status_of(run)
    return state if _places.exists(run.workdir) else f"{state}, gone"


def runs_json(runs: Iterable[Run]) -> str:
    """Returns runs as a list in JSON, one a line; NaN and infinities are texts."""
    # Without indents, which Python alone writes: ten thousand runs are 50 MB.
    lines = ",\n".join(json.dumps(run_dict(run), allow_nan=False) for run in runs)
    return f"[\n{lines}\n]"


def run_dict(run: Run) -> dict[str, Any]:
    """Returns a run as JSON values."""
    fields = {f.name: getattr(run, f.name) for f in dataclasses.fields(run)}
    fields["tags"] = list(run.tags)
    fields["parameters"] = dict(run.parameters)
    fields["metrics"] = {k: vars(metric) for k, metric in run.metrics.items()}
    return strict_json.finite(fields)


def runs_csv(runs: Sequence[Run], columns: Sequence[str] | None = None) -> str:
    """Returns runs as CSV: all metrics and parameters, unless columns are given."""
    if columns is None:
        metrics = sorted({name for run in runs for name in run.metrics})
        parameters = sorted({name for run in runs for name in run.parameters})
        taken = {*metrics, *_queries.FIELDS}
        columns = [
            *metrics,
            *(f"{_queries.OF_CONFIG}{x}" if x in taken else x for x in parameters),
        ]
    head = list(dict.fromkeys((*_OF_CSV, *columns)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for run in runs:
        values = (value_of(run, name) for name in head)
        writer.writerow([" ".join(v) if isinstance(v, tuple) else v for v in values])
    return out.getvalue()


def describe_run(run: Run) -> str:
    """Returns all that is known of a run, as lines."""
    fields = {
        "name": run.name,
        "project": run.project,
        "family": run.family,
        "experiment": run.experiment,
        "status": status(run),
        "steps": _steps(run),
        "started": _time(run.started),
        "last sign": _time(run.ended),
        "tags": " ".join(run.tags),
        "archived": "yes" if run.archived else "",
        "message": run.message.partition("\n")[0],
        "workdir": os.path.relpath(run.workdir)
        if run.workdir[0] == "/"
        else run.workdir,
    }
    parts = [run.id, _pairs({k: v for k, v in fields.items() if v})]
    if run.metrics:
        rows = [["metric", "last", "at step", "best", "at step"]]
        rows += [[name, *_metric_cells(value)] for name, value in run.metrics.items()]
        parts += ["", text_tables.aligned(rows, right=range(1, 5))]
    if run.parameters:
        parts += ["", _pairs({k: _shown(v) for k, v in run.parameters.items()})]
    return "\n".join(parts)


def things_table(things: Sequence[Any], *, but: Iterable[str] = ()) -> str:
    """Returns records of one kind as lines, without the columns that are all empty."""
    names = [f.name for f in dataclasses.fields(things[0]) if f.name not in set(but)]
    rows = [[_cell(name, getattr(thing, name)) for name in names] for thing in things]
    kept = [i for i in range(len(names)) if any(row[i] for row in rows)]
    head = [names[i].removeprefix("num_") for i in kept]
    return text_tables.aligned([head, *([row[i] for i in kept] for row in rows)])


def things_json(things: Iterable[Any]) -> str:
    """Returns records as a list in JSON."""
    return json.dumps([dataclasses.asdict(thing) for thing in things], indent=1)


def describe_thing(thing: Any, **more: str) -> str:
    """Returns a record as lines."""
    cells = {
        f.name.removeprefix("num_"): _cell(f.name, getattr(thing, f.name))
        for f in dataclasses.fields(thing)
    }
    return _pairs({k: v for k, v in {**cells, **more}.items() if v})


def _cell(name: str, value: Any) -> str:
    if name == "created":
        return _time(value)
    if name == "fingerprint":
        return value[:19]
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _pairs(values: Mapping[str, str]) -> str:
    return text_tables.aligned([[f"  {name}", value] for name, value in values.items()])


def _metric_cells(metric: MetricValue) -> list[str]:
    best = [_shown(metric.best), str(metric.best_step)] if metric.mode else ["", ""]
    return [_shown(metric.last), str(metric.last_step), *best]


def _steps(run: Run) -> str:
    return f"{run.step}/{run.num_steps}" if run.num_steps else str(run.step)


def _shown(value: Any, name: str = "") -> str:
    if value is None or value == () or value == "":
        return shown_values.NOTHING
    if name in ("started", "ended"):
        return _time(value)
    if isinstance(value, tuple):
        return " ".join(value)
    return shown_values.format_value(value)


def _time(secs: float) -> str:
    return shown_values.format_time(secs) if secs else ""
