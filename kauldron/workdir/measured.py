"""Metrics of runs: how one in `metrics.jsonl` is called, and which values are better.

`eval.accuracy` is what the collection (evaluator) `eval` has written as
`metrics/accuracy`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from kauldron._base import errors
from kauldron.workdir import ranking

TRAIN = "train"
NO_METRIC = ("step", "collection")
# Parts of names of what is the better the smaller it is.
_SMALLER_IS_BETTER = ("loss", "error", "perplexity", "distance", "total", "xentropy")
_MEASURED = ("metrics/", "losses/")


class MetricError(errors.UserError, ValueError):
    """A metric that was not measured, or a mode that does not exist."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of runs.

    Attributes:
      collection: Name of the evaluator, or `'train'`.
      name: As in `metrics.jsonl`: `'metrics/accuracy'`.
      mode: Whether its largest or its smallest value is the best.
    """

    collection: str
    name: str
    mode: ranking.Mode

    @property
    def key(self) -> str:
        """How it is given: `'eval.accuracy'`."""
        return short_key(self.collection, self.name)

    def best_of(self, records: Iterable[Mapping[str, Any]]) -> tuple[int, float] | None:
        """Returns step and value of the best record, the earliest of equal ones.

        What is not a number is worse than every number, and is never the best.
        """
        best: tuple[int, float] | None = None
        for record in records:
            value: Any = record.get(self.name)
            if record.get("collection") != self.collection or not is_number(value):
                continue
            if is_of_initial_parameters(record):
                continue
            if self.is_better(value, best and best[1]):
                best = (record["step"], value)
        return best

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value is strictly better than another one; `None` is none."""
        return ranking.is_better(value, than, self.mode)


def short_key(collection: str, name: str) -> str:
    """Returns how a metric is given: `'eval.accuracy'` for `'metrics/accuracy'`."""
    return f"{collection}.{name.rpartition('/')[2]}"


def guessed_mode(name: str) -> ranking.Mode:
    """Returns which values are better, as the name in `metrics.jsonl` suggests."""
    if name.startswith("losses/") or any(x in name for x in _SMALLER_IS_BETTER):
        return "min"
    return "max"


def is_ranked(name: str) -> bool:
    """Whether some values of a name are better than others, unlike a schedule's."""
    return name.startswith(_MEASURED)


def is_of_initial_parameters(record: Mapping[str, Any]) -> bool:
    """Whether a run was measured in training before it has learnt anything."""
    return record.get("collection") == TRAIN and record.get("step") == 0


def is_number(value: Any) -> bool:
    """Whether a value of a record is a number, not NaN."""
    return isinstance(value, int | float) and not math.isnan(value)


def choose(
    records: Iterable[list[dict[str, Any]]], wanted: str | None, mode: str | None
) -> Metric | None:
    """Returns what runs are compared by; `None` while nothing was measured.

    Args:
      records: Of each run.
      wanted: `'eval.accuracy'`: evaluator, metric. Unless given, what an evaluator
        measures comes before the training, and a metric before a loss.
      mode: `'max'` or `'min'`; what the name suggests unless given.

    Raises:
      MetricError: If no run measures what is wanted.
    """
    # Collection -> names, in the order of the files.
    measured: dict[str, dict[str, None]] = {}
    for record in (r for rs in records for r in rs):
        if wanted is None and is_of_initial_parameters(record):
            continue
        names = [k for k in record if k not in NO_METRIC and is_number(record[k])]
        measured.setdefault(record["collection"], {}).update(dict.fromkeys(names))
    if not measured:
        return None
    found = find(measured, wanted) if wanted else _default(measured)
    if found is None:
        return None
    collection, name = found
    return Metric(collection, name, to_mode(mode) or guessed_mode(name))


def to_mode(mode: str | None) -> ranking.Mode | None:
    """Returns a mode as given.

    Raises:
      MetricError: If it is none.
    """
    if mode in ("max", "min", None):
        return mode
    raise MetricError(f"`mode` is 'max' or 'min': got {mode!r}.")


def find(measured: Mapping[str, Iterable[str]], wanted: str) -> tuple[str, str]:
    """Returns collection and name of a metric as people give it.

    Args:
      measured: Collection -> names in `metrics.jsonl`.
      wanted: `'eval.accuracy'`, or `'eval.metrics/accuracy'`.

    Raises:
      MetricError: If it is not among them.
    """
    known = {
        key: (collection, name)
        for collection, names in measured.items()
        for name in names
        for key in (f"{collection}.{name}", short_key(collection, name))
    }
    if wanted in known:
        return known[wanted]
    short = [key for key in known if "/" not in key]
    raise MetricError(
        f"No run has measured {wanted!r}.{errors.did_you_mean(wanted, short)} Measured "
        f"are {', '.join(short)}."
    )


def _default(measured: Mapping[str, Iterable[str]]) -> tuple[str, str] | None:
    collections = sorted(measured, key=lambda name: name == TRAIN)
    for wanted in ("metrics/", "losses/total", "losses/"):
        for collection in collections:
            for name in measured[collection]:
                if name.startswith(wanted) and (
                    collection != TRAIN or len(collections) == 1
                ):
                    return collection, name
    return None
