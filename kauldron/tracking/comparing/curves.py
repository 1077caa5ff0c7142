"""Metrics of several runs over their steps, thinned to what a picture can show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from kauldron._base import errors
from kauldron.tracking.comparing import run_source
from kauldron.tracking.registry import records, shown_values


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCurve:
    """A curve and whose it is.

    Attributes:
      run: The run.
      metric: `eval.accuracy`.
      curve: Its values by step.
    """

    run: records.Run
    metric: str
    curve: records.Curve

    @property
    def label(self) -> str:
        """How it is told from those of other runs."""
        if self.run.name in ("", self.run.id):
            return self.run.id
        return f"{self.run.id} {self.run.name}"


def curves_of(
    source: run_source.RunSource,
    runs: Sequence[records.Run],
    metric: str | None = None,
    *,
    smooth: float = 0.0,
) -> list[RunCurve]:
    """Returns the curves of the runs that have a metric.

    Args:
      source: Where they are, such as a `Registry`.
      runs: The runs.
      metric: `eval.accuracy`, or its end if no other ends so; what an evaluator
        measures unless given.
      smooth: Weight of what was before, see `smoothed`.

    Raises:
      ComparingError: If none has measured that; names the nearest.
    """
    full = full_name(runs, metric)
    return [
        RunCurve(run=run, metric=full, curve=smoothed(source.curve(run, full), smooth))
        for run in runs
        if full in run.metrics
    ]


def full_name(runs: Sequence[records.Run], metric: str | None) -> str:
    """Returns a metric as it is called: `accuracy` is the only `eval.accuracy`.

    Raises:
      ComparingError: If no run has it, or the short name stands for several.
    """
    known = list(dict.fromkeys(name for run in runs for name in run.metrics))
    if metric is None:
        if known:
            return shown_values.main_metrics(runs, count=1)[0]
        raise run_source.ComparingError("These runs have measured nothing yet.")
    if metric in known:
        return metric
    ends = [name for name in known if name.endswith(f".{metric}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise run_source.ComparingError(
            f"`{metric}` stands for {' and '.join(ends)}: say which."
        )
    ids = ", ".join(run.id for run in runs[:8])
    raise run_source.ComparingError(
        f"No metric {metric!r} in {ids}.{errors.did_you_mean(metric, known)} Measured "
        f"are {', '.join(known) or 'none'}."
    )


def thin(curve: records.Curve, *, max_points: int) -> records.Curve:
    """Returns a curve of fewer points that looks the same.

    Of each of equally long pieces the lowest and the highest value stay, so that no
    spike is lost; and the first and the last point, and one that is not a number.

    Args:
      curve: The curve.
      max_points: About how many stay.
    """
    count = len(curve.steps)
    if count <= max_points:
        return curve
    num_pieces = max(1, max_points // 2)
    kept = {0, count - 1}
    for piece in range(num_pieces):
        start, end = piece * count // num_pieces, (piece + 1) * count // num_pieces
        numbers = [i for i in range(start, end) if not math.isnan(curve.values[i])]
        if len(numbers) < end - start:
            kept.add(next(i for i in range(start, end) if math.isnan(curve.values[i])))
        if numbers:
            kept.add(min(numbers, key=curve.values.__getitem__))
            kept.add(max(numbers, key=curve.values.__getitem__))
    places = sorted(kept)
    return records.Curve(
        steps=tuple(curve.steps[i] for i in places),
        values=tuple(curve.values[i] for i in places),
    )


def smoothed(curve: records.Curve, weight: float) -> records.Curve:
    """Returns the exponential moving average of a curve, unbiased at its begin.

    Args:
      curve: The curve; what is not finite stays as it is, and counts nowhere.
      weight: Of what was before, in [0, 1); 0 changes nothing.

    Raises:
      ComparingError: If the weight is out of range.
    """
    if not 0 <= weight < 1:
        raise run_source.ComparingError(
            f"`smooth` is at least 0 and less than 1: got {weight}."
        )
    if not weight:
        return curve
    average, total, values = 0.0, 0.0, []
    for value in curve.values:
        if not math.isfinite(value):
            values.append(value)
            continue
        average = weight * average + (1 - weight) * value
        total = weight * total + (1 - weight)
        values.append(average / total)
    return dataclasses.replace(curve, values=tuple(values))
