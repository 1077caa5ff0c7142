"""A report of several runs: what differs between them, and their curves together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from kauldron.tracking.comparing import (
    curves as curves_lib,
)
from kauldron.tracking.comparing import differences, documents, figures, run_source
from kauldron.tracking.registry import records, shown_values, tables

_MAX_CURVE_FIGURES = 12
_MAX_FACTS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsReport:
    """What is told of several runs.

    Attributes:
      comparison: What differs between them.
      curves: Metric -> its curves, of the runs that have it; the main ones first.
    """

    comparison: differences.Comparison
    curves: dict[str, list[curves_lib.RunCurve]]

    @property
    def runs(self) -> tuple[records.Run, ...]:
        """The runs, in the order in which they were named."""
        return self.comparison.runs

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "runs": [tables.run_dict(run) for run in self.runs],
            "comparison": self.comparison.as_dict(),
            "curves": {
                metric: {
                    of_run.run.id: {
                        "steps": list(of_run.curve.steps),
                        "values": list(of_run.curve.values),
                    }
                    for of_run in curves
                }
                for metric, curves in self.curves.items()
            },
            "figures": [figure.name for figure in _figures(self)],
        }


def make_runs_report(
    source: run_source.RunSource, runs: Sequence[records.Run]
) -> RunsReport:
    """Returns a report of several runs.

    Args:
      source: Where their curves are.
      runs: Two or more.

    Raises:
      RegistryError: If the workdir of one is gone.
    """
    metrics = list(dict.fromkeys(name for run in runs for name in run.metrics))
    ranked = shown_values.main_metrics(runs, count=len(metrics))
    return RunsReport(
        comparison=differences.compare(runs),
        curves={name: curves_lib.curves_of(source, runs, name) for name in ranked},
    )


def document_of(made: RunsReport) -> documents.Document:
    """Returns a report as it is written."""
    places = dict.fromkeys(f"{run.project} / {run.experiment}" for run in made.runs)
    same = f"{made.comparison.num_equal} parameters and metrics are the same in all"
    return documents.Document(
        title=f"{len(made.runs)} runs",
        subtitle=f"{', '.join(places)}; {same}",
        facts=list(_facts(made)),
        figures=_figures(made),
        tables=list(_tables(made)),
        values=made.as_dict(),
    )


def _main_metrics(made: RunsReport) -> list[str]:
    names = shown_values.main_metrics(made.runs, count=len(made.curves))
    return [name for name in names if not name.startswith("train.")][:_MAX_FACTS]


def _facts(made: RunsReport) -> Iterator[tuple[str, str]]:
    """Yields the best of each of the main metrics, and whose it is."""
    rows = {row.name: row for row in made.comparison.differences}
    for name in _main_metrics(made):
        if name in rows and (best := sorted(rows[name].best)):
            whose = ", ".join(made.runs[place].id for place in best)
            value = shown_values.format_value(rows[name].values[best[0]])
            yield f"best {name}: {whose}", value


def _figures(made: RunsReport) -> list[documents.ReportFigure]:
    """Returns a picture per metric, with the curves of all runs."""
    drawn: list[tuple[str, list[curves_lib.RunCurve]]] = []
    for name, curves in made.curves.items():
        values = [of_run.curve for of_run in curves]
        # A total of one loss is that loss.
        is_new = all(values != [x.curve for x in others] for _, others in drawn)
        if is_new and any(len(curve.steps) > 1 for curve in values):
            drawn.append((name, curves))
    return [
        documents.ReportFigure(
            name=f"curve_{name.replace('/', '_').replace('.', '_')}",
            section="Curves",
            alt=f"{name} by step: {', '.join(of_run.run.id for of_run in curves)}",
            draw=lambda theme, name=name, curves=curves: figures.draw_curves(
                curves, theme, title=name, size=(5.4, 3.2)
            ),
        )
        for name, curves in drawn[:_MAX_CURVE_FIGURES]
    ]


def _tables(made: RunsReport) -> Iterator[documents.Table]:
    show, shown = shown_values.format_value, _main_metrics(made)
    yield documents.Table(
        "Runs",
        ("run", "name", "status", "step", "took", *shown),
        [
            (
                run.id,
                run.name,
                tables.status(run),
                f"{run.step:,}",
                shown_values.format_duration(run.ended - run.started),
                *(show(shown_values.metric_value(run, name)) for name in shown),
            )
            for run in made.runs
        ],
    )
    titles = {
        "parameter": "Parameters that differ",
        "metric": "Metrics that differ, the best of each run; * the best of all",
    }
    for kind, title in titles.items():
        rows = [row for row in made.comparison.differences if row.kind == kind]
        if rows:
            yield documents.Table(
                title,
                ("", *(run.id for run in made.runs)),
                [
                    (
                        row.name,
                        *(
                            f"{show(value)}{' *' if place in row.best else ''}"
                            for place, value in enumerate(row.values)
                        ),
                    )
                    for row in rows
                ],
            )
