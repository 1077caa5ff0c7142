"""Columns of the table of runs: what each shows, how wide it is, what it sorts by."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from kauldron.tracking.registry import records, shown_values

STATUS_MARKS = {
    "running": ("●", "#10b981"),
    "done": ("✓", "#3b82f6"),
    "failed": ("✗", "#ef4444"),
    "dead": ("✗", "#ef4444"),
    "interrupted": ("‖", "#f59e0b"),
    "unknown": ("?", "#9ca3af"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
      title: Its head.
      cell: What it shows of a run.
      width: In characters.
      sort_name: What runs are sorted by, as the registry calls it; empty if by nothing.
      is_number: Whether cells end below each other.
    """

    title: str
    cell: Callable[[records.Run], str]
    width: int
    sort_name: str = ""
    is_number: bool = False


def columns_for(
    runs: Sequence[records.Run], *, width: int, metrics: Sequence[str]
) -> list[Column]:
    """Returns the columns that fit, the first ones first.

    Args:
      runs: Some of those that are shown; they say how wide names are.
      width: Of the screen, in characters.
      metrics: Names of metrics, the most wanted first.
    """
    name_width = max([4, *(len(run.name) for run in runs)])
    place_width = max([10, *(len(_place(run)) for run in runs)])
    needed = [
        Column(title="", cell=lambda run: "", width=1),
        Column(title="id", cell=lambda run: run.id, width=9, sort_name="id"),
        Column(
            title="name",
            cell=lambda run: run.name,
            width=min(name_width, 28),
            sort_name="name",
        ),
        Column(
            title="status",
            cell=shown_values.status_of,
            width=13,
            sort_name="status",
        ),
        Column(
            title="step",
            cell=_progress,
            width=13,
            sort_name="step",
            is_number=True,
        ),
    ]
    wished = [_metric(name) for name in metrics]
    wished[1:1] = [
        Column(
            title="age",
            cell=lambda run: _age(run.started),
            width=8,
            sort_name="started",
            is_number=True,
        ),
        Column(
            title="experiment",
            cell=_place,
            width=min(place_width, 24),
            sort_name="experiment",
        ),
    ]
    left = width - sum(column.width + 2 for column in needed)
    for column in wished:
        if column.width + 2 <= left:
            needed.append(column)
            left -= column.width + 2
    return needed


def _metric(name: str) -> Column:
    return Column(
        title=name,
        cell=lambda run: shown_values.format_value(
            shown_values.metric_value(run, name)
        ),
        width=max(9, len(name)),
        sort_name=name,
        is_number=True,
    )


def _place(run: records.Run) -> str:
    return run.experiment or run.family or run.project


def _progress(run: records.Run) -> str:
    return f"{run.step:,}/{_short(run.num_steps)}"


def _short(count: int) -> str:
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1e6:.3g}M" if count >= 1_000_000 else f"{count / 1e3:.3g}k"


def _age(started: float) -> str:
    return shown_values.format_duration(time.time() - started) if started else ""
