"""The report of a run as a document: its title, its facts, its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kauldron.tracking.comparing import documents, report
from kauldron.tracking.registry import shown_values


def document_of(made: report.Report) -> documents.Document:
    """Returns a report of a run as it is written."""
    return documents.Document(
        title=_title(made),
        subtitle=_subtitle(made),
        message=made.run.message,
        facts=_facts(made),
        figures=made.figures,
        tables=list(_tables(made)),
        values=made.as_dict(),
    )


def _title(made: report.Report) -> str:
    name = f" · {made.run.name}" if made.run.name != made.run.id else ""
    return f"{made.run.id}{name}"


def _subtitle(made: report.Report) -> str:
    run = made.run
    place = " / ".join(x for x in (run.project, run.family, run.experiment) if x)
    took = shown_values.format_duration(run.ended - run.started)
    return (
        f"{place}, {shown_values.status_of(run)} at step {run.step:,} of "
        f"{run.num_steps:,}, begun {shown_values.format_time(run.started)}, {took}"
    )


def _facts(made: report.Report) -> list[tuple[str, str]]:
    """Returns the numbers that are looked at first."""
    facts: list[tuple[str, Any]] = [
        (name, shown_values.metric_value(made.run, name))
        for name in shown_values.main_metrics(
            [made.run], count=4 if made.predicted is None else 1
        )
        if not name.startswith("train.")
    ]
    if (classes := made.classes) is not None:
        facts += [
            ("accuracy of the predictions", classes.accuracy),
            ("macro F1", float(classes.f1.mean())),
            ("log loss", classes.log_loss),
            ("calibration error", classes.calibration_error),
            ("examples", classes.num_examples),
        ]
    if (values := made.values) is not None:
        facts += [("MAE", values.mae), ("RMSE", values.rmse), ("R²", values.r2)]
        facts += [("bias", values.bias), ("examples", values.num_examples)]
    if (intervals := made.intervals) is not None:
        nominal = intervals.nominal or (None,)
        facts += [
            (
                "inside the intervals" if level is None else f"inside {level:.0%}",
                covered,
            )
            for level, covered in zip(nominal, intervals.coverage, strict=True)
        ]
    return [(name, shown_values.format_value(value)) for name, value in facts]


def _tables(made: report.Report) -> Iterator[documents.Table]:
    """Yields the tables."""
    show = shown_values.format_value
    if (classes := made.classes) is not None and len(classes.confusion) <= 100:
        yield documents.Table(
            "Classes",
            ("class", "precision", "recall", "F1", "examples"),
            [
                (str(i), *(f"{x:.3f}" for x in row), str(count))
                for i, (*row, count) in enumerate(
                    zip(
                        classes.precision,
                        classes.recall,
                        classes.f1,
                        classes.confusion.sum(axis=1),
                        strict=True,
                    )
                )
            ],
        )
    if classes is not None and (confused := classes.most_confused(10)):
        yield documents.Table(
            "Most confused",
            ("true class", "taken for", "times"),
            [tuple(map(str, row)) for row in confused],
        )
    if made.run.metrics:
        yield documents.Table(
            "Metrics",
            ("metric", "last", "at step", "best", "at step"),
            [
                (
                    name,
                    show(value.last),
                    f"{value.last_step:,}",
                    show(value.best) if value.mode else "",
                    f"{value.best_step:,}" if value.mode else "",
                )
                for name, value in made.run.metrics.items()
            ],
        )
    if made.run.parameters:
        yield documents.Table(
            "Parameters",
            ("parameter", "value"),
            [(name, show(value)) for name, value in made.run.parameters.items()],
        )
