"""Last and best values of metrics, and how they are called."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from kauldron.tracking.registry.records import MetricValue
from kauldron.workdir import measured

# Which of two metrics that end alike is called by its end.
_KINDS = ("metrics", "losses")


def to_number(value: Any) -> float | None:
    """Returns the number of a record: NaN and infinities are texts there."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


class _Summary:
    """Last and best of a metric while its records are read."""

    __slots__ = ("best", "best_step", "last", "last_step", "sign")

    def __init__(self, name: str) -> None:
        self.sign = 0
        if measured.is_ranked(name):
            self.sign = 1 if measured.guessed_mode(name) == "max" else -1
        self.last, self.last_step = math.nan, 0
        self.best, self.best_step = -math.inf, -1  # times the sign


class Summaries:
    """Last and best of all metrics of a run, while its records are read."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, _Summary]] = {}  # by collection and name

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds records, in the order of the file."""
        found = self._found
        for record in records:
            collection, step = record["collection"], record["step"]
            of_collection = found.setdefault(collection, {})
            counts = collection != measured.TRAIN or step != 0
            for name, value in record.items():
                if value.__class__ is not float and (
                    name in measured.NO_METRIC or (value := to_number(value)) is None
                ):
                    continue
                summary = of_collection.get(name)
                if summary is None:
                    summary = of_collection[name] = _Summary(name)
                summary.last, summary.last_step = value, step
                # Neither NaN nor an infinity is better than anything.
                if (
                    counts
                    and summary.best < (signed := value * summary.sign) < math.inf
                ):
                    summary.best, summary.best_step = signed, step

    def values(self) -> dict[str, MetricValue]:
        """Returns what is known so far, by `collection.metric`."""
        called = keys(self._found)
        return {
            called[collection, name]: _to_value(summary)
            for collection, of_collection in self._found.items()
            for name, summary in of_collection.items()
        }


def _to_value(summary: _Summary) -> MetricValue:
    if summary.sign == 0:
        best, best_step, mode = summary.last, summary.last_step, None
    else:
        mode = "max" if summary.sign > 0 else "min"
        best, best_step = summary.best * summary.sign, summary.best_step
        if best_step < 0:
            best, best_step = summary.last, summary.last_step
    return MetricValue(
        last=summary.last,
        last_step=summary.last_step,
        best=best,
        best_step=best_step,
        mode=mode,
    )


def keys(names: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """Returns how metrics are called: by their ends, where these are not the same."""
    taken: dict[str, tuple[str, str]] = {}
    for collection, of_collection in names.items():
        for name in sorted(of_collection, key=_rank):
            key = measured.short_key(collection, name)
            if key in taken:
                key = f"{collection}.{name}"
            taken[key] = (collection, name)
    return {place: key for key, place in taken.items()}


def _rank(name: str) -> tuple[int, str]:
    kind = name.partition("/")[0]
    return (_KINDS.index(kind) if kind in _KINDS else len(_KINDS), name)
