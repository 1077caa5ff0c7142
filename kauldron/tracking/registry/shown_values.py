"""How values of runs are written where people read them, and their colours."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kauldron.tracking.registry import records

NOTHING = "-"
_NUM_LOOKED_AT = 200

# One per run, told apart by people who see few colours, on white and on black.
COLORS = (
    "#3b82f6",
    "#f59e0b",
    "#10b981",
    "#ef4444",
    "#a855f7",
    "#06b6d4",
    "#ec4899",
    "#84cc16",
)


def format_value(value: records.Scalar | None) -> str:
    """Returns a value in few characters: floats with four digits."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def format_duration(secs: float) -> str:
    """Returns a duration such as `42 s`, `5 min`, `3.2 h`, `12 d`."""
    if secs < 100:
        return f"{max(secs, 0):.0f} s"
    if secs < 100 * 60:
        return f"{secs / 60:.0f} min"
    if secs < 48 * 3600:
        return f"{secs / 3600:.1f} h"
    return f"{secs / 86400:.0f} d"


def format_time(seconds: float) -> str:
    """Returns a time since 1970 as a date and a minute, here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def status_of(run: records.Run) -> str:
    """Returns how a run stands; `dead` if it says that it runs, and nothing does."""
    return "dead" if run.status == "running" and not run.is_alive else run.status


def metric_value(run: records.Run, metric: str) -> float | None:
    """Returns the best value of a metric, the newest where none is better."""
    found = run.metrics.get(metric)
    if found is None:
        return None
    return found.last if found.mode is None else found.best


def main_metrics(runs: Sequence[records.Run], *, count: int) -> list[str]:
    """Returns the metrics that most runs have, those of evaluators first.

    Args:
      runs: Of one list; some hundreds of many are looked at.
      count: How many at most.
    """
    counted = _count_metrics(runs[:: 1 + len(runs) // _NUM_LOOKED_AT])
    how_many, is_better_known = counted if counted[0] else _count_metrics(runs)

    def rank(name: str) -> tuple[object, ...]:
        collection, _, rest = name.partition(".")
        return (
            collection == "train",
            not is_better_known[name],
            -how_many[name],
            any(word in rest for word in ("loss", "total", "xentropy")),
            rest == "total",
            name,
        )

    return sorted(how_many, key=rank)[:count]


def _count_metrics(
    runs: Sequence[records.Run],
) -> tuple[dict[str, int], dict[str, bool]]:
    """Returns how many runs have a metric, and whether it is known what is better."""
    how_many: dict[str, int] = {}
    is_better_known: dict[str, bool] = {}
    for run in runs:
        for name, value in run.metrics.items():
            how_many[name] = how_many.get(name, 0) + 1
            is_better_known[name] = value.mode is not None
    return how_many, is_better_known
