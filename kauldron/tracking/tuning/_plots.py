"""Pictures of a study: its course, what mattered, and which values went together."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from kauldron._base import extras
from kauldron.tracking.tuning import _history, _space, _values
from kauldron.tracking.tuning._overview import StudyOverview
from kauldron.tracking.tuning._values import StudyError
from kauldron.workdir import ranking

_BEST, _OTHERS, _BAD = "#c2410c", "#64748b", "#cbd5e1"


def plot(study: StudyOverview, folder: str) -> list[str]:
    """Writes the pictures of a study; returns their paths.

    `history.png`: the value of each trial, and the best so far. `importance.png`: what
    decides whether a trial is among the best; from four trials on. `parallel.png`: each
    trial as a line through its values.

    Args:
      study: See `read_study`.
      folder: Where they are written.

    Raises:
      StudyError: If no trial has a value yet.
    """
    if not any(trial.best is not None for trial in study.trials):
        raise StudyError(
            f"No trial of {study.workdir!r} has measured {study.metric} yet, so there is "
            "nothing to show."
        )
    pictures = {"history": _history_of, "parallel": _parallel}
    if study.importance():
        pictures["importance"] = _importance
    figures = extras.load("matplotlib.figure", needed_by="A picture", extra="figures")
    os.makedirs(folder, exist_ok=True)
    paths = []
    for name, draw in pictures.items():
        width = 2.2 * len(study.labels) + 4 if name == "parallel" else 7
        figure = figures.Figure(figsize=(min(width, 20), 4), layout="constrained")
        draw(study, figure.subplots())
        paths.append(os.path.join(folder, f"{name}.png"))
        figure.savefig(paths[-1], dpi=120)
    return paths


def _history_of(study: StudyOverview, axes: Any) -> None:
    best_so_far: list[tuple[int, float]] = []
    for trial in study.trials:
        if trial.best is None or trial.state != "done":
            continue
        before = best_so_far[-1][1] if best_so_far else None
        if ranking.is_better(trial.best, before, study.mode):
            best_so_far.append((trial.number, trial.best))
    for state, color, marker in (
        ("done", _OTHERS, "o"),
        ("pruned", _BAD, "x"),
        ("running", _BAD, "."),
    ):
        shown = [t for t in study.trials if t.state == state and t.best is not None]
        if shown:
            numbers = [t.number for t in shown]
            axes.plot(
                numbers, [t.best for t in shown], marker, color=color, label=state
            )
    if best_so_far:
        numbers = [*(n for n, _ in best_so_far), len(study.trials) - 1]
        values = [*(v for _, v in best_so_far), best_so_far[-1][1]]
        axes.step(numbers, values, where="post", color=_BEST, label="best so far")
    axes.set(xlabel="trial", ylabel=study.metric, title="History")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()


def _importance(study: StudyOverview, axes: Any) -> None:
    importance = study.importance()
    paths = sorted(importance, key=lambda path: importance[path])
    bars = axes.barh(
        [study.labels.get(path, path) for path in paths],
        [importance[path] for path in paths],
        color=_OTHERS,
    )
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="share in being among the best", title="Importance", xlim=(0, 1.1))


def _parallel(study: StudyOverview, axes: Any) -> None:
    """Draws each trial as a line; each field has an axis of its own, from 0 to 1."""
    values = _space.parse(f"{path}={text}" for path, text in study.space.items())
    shown = [t for t in study.trials if t.best is not None]
    results = [t.best for t in shown if t.best is not None]
    low, high = min(results), max(results)
    best = study.best
    for trial in sorted(shown, key=lambda t: t is best or t == best):
        xs, ys = _line(trial, values, low, high)
        is_best = best is not None and trial.number == best.number
        color = _BEST if is_best else _OTHERS if trial.state == "done" else _BAD
        axes.plot(xs, ys, "-o", color=color, alpha=1 if is_best else 0.5, markersize=3)
    names = [study.labels.get(path, path) for path in values]
    axes.set_xticks(range(len(values) + 1), [*names, study.metric])
    axes.set(yticks=[], ylim=(-0.12, 1.12), title="Parallel coordinates")
    for x, v in enumerate(values.values()):
        _label(axes, x, _ticks(v))
    _label(axes, len(values), [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")])
    for x in range(len(values) + 1):
        axes.axvline(x, color="black", linewidth=0.8, zorder=0)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def _line(
    trial: _history.StudyTrial,
    values: dict[str, _values.Values],
    low: float,
    high: float,
) -> tuple[list[int], list[float]]:
    xs, ys = [], []
    for x, (path, among) in enumerate(values.items()):
        if path in trial.overrides:
            proposed = among.from_text(trial.overrides[path])
            if proposed is not None:
                xs.append(x)
                ys.append(_height(among, proposed))
    if trial.best is not None:
        xs.append(len(values))
        ys.append((trial.best - low) / (high - low) if high > low else 0.5)
    return xs, ys


def _height(values: _values.Values, proposed: Any) -> float:
    """Returns where a value stands on its axis, from 0 to 1."""
    if isinstance(values, _values.Choice):
        return values.texts.index(proposed) / max(values.count - 1, 1)
    if values.low == values.high:
        return 0.5
    ends: Sequence[float] = (values.low, values.high, proposed)
    low, high, value = map(math.log, ends) if values.log else ends
    return (value - low) / (high - low)


def _ticks(values: _values.Values) -> list[tuple[float, str]]:
    if isinstance(values, _values.Choice):
        return [(_height(values, text), text) for text in values.texts]
    return [(0.0, f"{values.low:g}"), (1.0, f"{values.high:g}")]


def _label(axes: Any, x: int, ticks: Sequence[tuple[float, str]]) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
    for y, text in ticks:
        offset = -9 if y == 0 else 9 if y == 1 else 0
        axes.annotate(
            text if len(text) <= 20 else f"{text[:19]}…",
            (x, y),
            (0, offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            bbox=box,
        )
