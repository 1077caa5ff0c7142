"""What the web page asks for, as JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kauldron._base import errors, strict_json
from kauldron.tracking.comparing import curves as curves_lib
from kauldron.tracking.comparing import differences, run_source
from kauldron.tracking.pages import logs
from kauldron.tracking.registry import records, shown_values

_MAX_RUNS = 500
_MAX_POINTS = 600
_NUM_METRICS = 6


class Answers:
    """Answers questions of the page.

    Args:
      source: Where the runs are from, such as a `Registry`.
    """

    def __init__(self, source: run_source.RunSource) -> None:
        self._source = source
        self._known: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
            "/api/runs": self._runs,
            "/api/run": self._run,
            "/api/curve": self._curve,
            "/api/compare": self._compare,
            "/api/log": self._log,
        }

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """Returns JSON values; `None` if nobody answers at this path.

        Args:
          path: `/api/runs`.
          query: What stands behind the question mark.

        Raises:
          UserError: If the question is wrong, such as a filter with a typo.
        """
        known = self._known.get(path)
        return None if known is None else strict_json.finite(known(query))

    def _runs(self, query: Mapping[str, str]) -> Any:
        runs = self._source.runs(
            query.get("where") or None,
            query.get("sort") or "-id",
            archived=query.get("archived") == "1",
        )
        groups: dict[tuple[str, str, str], int] = {}
        for run in runs:
            group = run.project, run.family, run.experiment
            groups[group] = groups.get(group, 0) + 1
        scope = [query.get(name) for name in ("project", "family", "experiment")]
        shown = [
            run
            for run in runs
            if all(
                wanted in (None, there)
                for wanted, there in zip(
                    scope, (run.project, run.family, run.experiment), strict=True
                )
            )
        ]
        first = shown[: int(query.get("limit") or _MAX_RUNS)]
        metrics = shown_values.main_metrics(first, count=_NUM_METRICS)
        return {
            "colors": shown_values.COLORS,
            "groups": [[*group, count] for group, count in sorted(groups.items())],
            "total": len(shown),
            "metrics": metrics,
            "runs": [_row(run, metrics) for run in first],
        }

    def _run(self, query: Mapping[str, str]) -> Any:
        run = self._source.run(_needed(query, "run"))
        return {
            **_row(run, []),
            "workdir": run.workdir,
            "message": run.message,
            "ended": run.ended,
            "parameters": dict(run.parameters),
            "main_metrics": shown_values.main_metrics([run], count=len(run.metrics)),
            "metrics": {
                name: dataclasses.asdict(value) for name, value in run.metrics.items()
            },
        }

    def _curve(self, query: Mapping[str, str]) -> Any:
        run = self._source.run(_needed(query, "run"))
        metric = curves_lib.full_name([run], _needed(query, "metric"))
        curve = self._source.curve(run, metric)
        thinned = curves_lib.thin(curve, max_points=_MAX_POINTS)
        return {"steps": thinned.steps, "values": thinned.values}

    def _compare(self, query: Mapping[str, str]) -> Any:
        names = [name for name in _needed(query, "runs").split(",") if name]
        runs = run_source.chosen_runs(self._source, names, at_least=1)
        compared = differences.compare(runs, all_values=query.get("all") == "1")
        told = compared.as_dict()
        for difference, one in zip(
            told["differences"], compared.differences, strict=True
        ):
            difference["best"] = [runs[place].id for place in sorted(one.best)]
        told["metrics"] = shown_values.main_metrics(runs, count=1000)
        told["has"] = {run.id: list(run.metrics) for run in runs}
        return told

    def _log(self, query: Mapping[str, str]) -> Any:
        return {"text": logs.read_log(self._source.run(_needed(query, "run")))}


def _row(run: records.Run, metrics: list[str]) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "family": run.family,
        "experiment": run.experiment,
        "status": shown_values.status_of(run),
        "step": run.step,
        "num_steps": run.num_steps,
        "started": run.started,
        "tags": run.tags,
        "values": [shown_values.metric_value(run, name) for name in metrics],
    }


def _needed(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise QuestionError(f"Say `{name}=`.")
    return query[name]


class QuestionError(errors.UserError, ValueError):
    """A question that lacks something."""
