"""A report of a run: its curves, how good its predictions are, and pictures of both."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kauldron.tracking.comparing import (
    curves as curves_lib,
)
from kauldron.tracking.comparing import (
    documents,
    figures,
    judgements,
    predictions,
    run_source,
)
from kauldron.tracking.registry import records, shown_values, tables

_MAX_CURVE_FIGURES = 12
_NUM_PICTURES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What is told of a run.

    Attributes:
      run: The run.
      curves: All its metrics.
      predicted: What it has predicted; `None` if it has written nothing.
      classes: How good its classes are.
      values: How good its values are.
      intervals: How good its intervals are.
      figures: Pictures, in their order.
    """

    run: records.Run
    curves: tuple[curves_lib.RunCurve, ...]
    predicted: predictions.Predictions | None
    classes: judgements.Classification | None
    values: judgements.Regression | None
    intervals: judgements.Intervals | None
    figures: tuple[documents.ReportFigure, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        predicted: dict[str, Any] | None = None
        if self.predicted is not None:
            predicted = {
                "source": os.path.relpath(self.predicted.source, self.run.workdir),
                "columns": {
                    name: {"shape": list(x.shape), "dtype": str(x.dtype)}
                    for name, x in self.predicted.columns.items()
                },
                "roles": dict(self.predicted.roles),
                "classification": self.classes and self.classes.as_dict(),
                "regression": self.values and self.values.as_dict(),
                "intervals": self.intervals and self.intervals.as_dict(),
            }
        return {
            "run": tables.run_dict(self.run),
            "curves": {
                curve.metric: {
                    "steps": list(curve.curve.steps),
                    "values": list(curve.curve.values),
                }
                for curve in self.curves
            },
            "predictions": predicted,
            "figures": [figure.name for figure in self.figures],
        }


def make_report(
    source: run_source.RunSource,
    run: records.Run,
    *,
    predicted_in: str | None = None,
    roles: Mapping[str, str] | None = None,
) -> Report:
    """Returns a report of a run.

    Args:
      source: Where its curves are.
      run: The run.
      predicted_in: File of its predictions; what its evaluators have written unless
        given.
      roles: Role, such as `labels`, -> column, where they are not as in the config.

    Raises:
      ComparingError: If a role or a column does not exist.
      OutputsError: If the predictions cannot be read.
    """
    curves = tuple(
        curves_lib.RunCurve(run=run, metric=name, curve=source.curve(run, name))
        for name in run.metrics
    )
    predicted = predictions.read(run, predicted_in, roles)
    judged: dict[str, Any] = {"classes": None, "values": None, "intervals": None}
    shown = _curve_figures(curves)
    if predicted is not None:
        judged, of_predictions = _judge(predicted)
        shown += of_predictions
    return Report(
        run=run, curves=curves, predicted=predicted, figures=tuple(shown), **judged
    )


def _curve_figures(
    curves: tuple[curves_lib.RunCurve, ...],
) -> list[documents.ReportFigure]:
    """Returns a picture per metric, in which evaluators and training are together."""
    groups: dict[str, list[curves_lib.RunCurve]] = {}
    runs = [curve.run for curve in curves[:1]]
    by_metric = {curve.metric: curve for curve in curves}
    for metric in shown_values.main_metrics(runs, count=len(curves)):
        if len(by_metric[metric].curve.steps) > 1:
            name = metric.partition(".")[2]
            groups.setdefault(name, []).append(by_metric[metric])
    ranked: list[str] = []
    for name, group in groups.items():
        # A total of one loss is that loss.
        drawn = [[c.curve for c in groups[other]] for other in ranked]
        if [c.curve for c in group] not in drawn:
            ranked.append(name)
    return [
        documents.ReportFigure(
            name=f"curve_{name.replace('/', '_').replace('.', '_')}",
            section="Curves",
            alt=f"{name} by step: {', '.join(c.metric for c in groups[name])}",
            draw=lambda theme, name=name: figures.draw_curves(
                groups[name],
                theme,
                labels=[c.metric.partition(".")[0] for c in groups[name]],
                title=name,
                size=(5.4, 3.2),
            ),
        )
        for name in ranked[:_MAX_CURVE_FIGURES]
    ]


def _judge(
    predicted: predictions.Predictions,
) -> tuple[dict[str, Any], list[documents.ReportFigure]]:
    classes = values = intervals = None
    shown: list[documents.ReportFigure] = []

    def show(name: str, alt: str, draw: Callable[[figures.Theme], Any]) -> None:
        shown.append(
            documents.ReportFigure(name=name, section="Predictions", alt=alt, draw=draw)
        )

    if (found := predicted.classes()) is not None:
        judged = classes = judgements.judge_classes(*found)
        if len(judged.confusion) <= 200:
            show(
                "confusion",
                f"Confusion matrix of {len(judged.confusion)} classes",
                lambda theme: figures.draw_confusion(judged, theme),
            )
        show(
            "calibration",
            f"Accuracy by confidence; calibration error {judged.calibration_error:.3f}",
            lambda theme: figures.draw_calibration(judged, theme),
        )
    elif (pair := predicted.values("preds", "targets")) is not None:
        preds, targets = pair
        values = judgements.judge_values(preds, targets)
        show(
            "residuals",
            "Predictions over targets, and a histogram of residuals",
            lambda theme: figures.draw_residuals(preds, targets, theme),
        )
    if (bounds := _bounds(predicted)) is not None:
        intervals, lower, upper, title = bounds
        [targets_] = predicted.values("targets") or [np.zeros_like(lower)]
        means = predicted.values("preds")
        show(
            "intervals",
            title,
            lambda theme: figures.draw_intervals(
                targets_[:, 0],
                means[0][:, 0] if means else None,
                lower[:, 0],
                upper[:, 0],
                theme,
                title=title,
            ),
        )
    if (pictures := _pictures(predicted)) is not None:
        show("examples", "Example pictures with what was predicted", pictures)
    return {"classes": classes, "values": values, "intervals": intervals}, shown


def _bounds(
    predicted: predictions.Predictions,
) -> tuple[judgements.Intervals, np.ndarray, np.ndarray, str] | None:
    """Returns intervals: how good they are, and where they begin and end."""
    if (found := predicted.values("targets", "lower", "upper")) is not None:
        judged = judgements.judge_bounds(*found)
        title = f"Intervals: {judged.coverage[0]:.0%} of the targets are inside"
        return judged, found[1], found[2], title
    scales = predicted.values("preds", "targets", "scale")
    if scales is None and (logvar := predicted.values("preds", "targets", "logvar")):
        scales = [logvar[0], logvar[1], np.exp(logvar[2] / 2)]
    if scales is None:
        return None
    preds, targets, scale = scales
    judged = judgements.judge_scales(preds, targets, scale)
    assert judged.nominal is not None
    place = judged.nominal.index(0.9)
    reach = statistics.NormalDist().inv_cdf(0.95) * scale
    title = f"90 % intervals: {judged.coverage[place]:.0%} of the targets are inside"
    return judged, preds - reach, preds + reach, title


def _pictures(
    predicted: predictions.Predictions,
) -> Callable[[figures.Theme], Any] | None:
    """Returns what draws example pictures, the worst predictions first."""
    images, found = predicted.images(), predicted.classes()
    if images is not None and found is not None and len(found[1]) == len(images):
        logits, labels = found
        classes, names, surest = _of_examples(logits, labels)
        chosen = np.argsort(surest, kind="stable")[:_NUM_PICTURES]
        return lambda theme: figures.draw_pictures(
            [images[chosen]],
            [names[i] for i in chosen],
            [bool(classes[i] == labels[i]) for i in chosen],
            theme,
            title="The least likely labels",
        )
    preds, targets = predicted.images("preds"), predicted.images("targets")
    if preds is None or targets is None or preds.shape != targets.shape:
        return None
    errors = np.abs(preds - np.asarray(targets, np.float64)).mean(axis=(1, 2, 3))
    chosen = np.argsort(-errors, kind="stable")[: _NUM_PICTURES // 2]
    return lambda theme: figures.draw_pictures(
        [targets[chosen], preds[chosen]],
        [f"{errors[i]:.3g}" for i in chosen],
        [True] * len(chosen),
        theme,
        title="Largest mean errors: the target, and below it the prediction",
    )


def _of_examples(
    logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Returns of each example its class, a caption, and how likely its label was."""
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=-1, keepdims=True)
    classes = probabilities.argmax(axis=-1)
    known = np.clip(labels, 0, probabilities.shape[-1] - 1)
    surest = probabilities[np.arange(len(labels)), known]
    captions = [
        f"{label}, said {said} ({probability:.0%})"
        if label != said
        else f"{label} ({probability:.0%})"
        for label, said, probability in zip(
            labels.tolist(), classes.tolist(), probabilities.max(axis=-1), strict=True
        )
    ]
    return classes, captions, surest
