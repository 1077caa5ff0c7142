"""What trials are compared by: a metric in the `metrics.jsonl` of each."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from kauldron._base import errors
from kauldron.launch._backend import LaunchError
from kauldron.workdir import json_lines, ranking

_TRAIN = "train"
_NO_METRIC = ("step", "collection")
# Parts of names of what is the better the smaller it is.
_SMALLER_IS_BETTER = ("loss", "error", "perplexity", "distance", "total", "xentropy")


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of trials.

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
        return f"{self.collection}.{self.name.rpartition('/')[2]}"

    def best_of(self, records: Iterable[Mapping[str, Any]]) -> tuple[int, float] | None:
        """Returns step and value of the best record, the earliest of equal ones.

        What is not a number is worse than every number, and is never the best.
        """
        best: tuple[int, float] | None = None
        for record in records:
            value: Any = record.get(self.name)
            if record.get("collection") != self.collection or not _is_number(value):
                continue
            if _is_of_initial_parameters(record):
                continue
            if self.is_better(value, best and best[1]):
                best = (record["step"], value)
        return best

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether a value is strictly better than another one; `None` is none."""
        return ranking.is_better(value, than, self.mode)


def _is_of_initial_parameters(record: Mapping[str, Any]) -> bool:
    """Whether a trial was measured in training before it has learnt anything."""
    return record.get("collection") == _TRAIN and record.get("step") == 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


class RecordReader:
    """Reads the records of runs; a file that has not changed is not read again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, list[dict[str, Any]]]] = {}

    def read(self, workdir: str) -> list[dict[str, Any]]:
        """Returns the records of a run; none if it has written none."""
        path = epath.Path(workdir) / json_lines.METRICS_FILE
        try:
            stat = os.stat(path)
            state = (stat.st_mtime_ns, stat.st_size)
            kept = self._kept.get(workdir)
            if kept is None or kept[0] != state:
                kept = self._kept[workdir] = (state, json_lines.read(path))
        except OSError:
            return []
        return kept[1]


def choose(
    records: Iterable[list[dict[str, Any]]], wanted: str | None, mode: str | None
) -> Metric | None:
    """Returns what trials are compared by; `None` while nothing was measured.

    Args:
      records: Of each trial.
      wanted: `'eval.accuracy'`: evaluator, metric. Unless given, what an evaluator
        measures comes before the training, and a metric before a loss.
      mode: `'max'` or `'min'`; what the name suggests unless given.

    Raises:
      LaunchError: If no trial measures what is wanted.
    """
    # Collection -> names, in the order of the files.
    measured: dict[str, dict[str, None]] = {}
    for record in (r for rs in records for r in rs):
        if wanted is None and _is_of_initial_parameters(record):
            continue
        names = [k for k in record if k not in _NO_METRIC and _is_number(record[k])]
        measured.setdefault(record["collection"], {}).update(dict.fromkeys(names))
    if not measured:
        return None
    found = _find(measured, wanted) if wanted else _default(measured)
    if found is None:
        return None
    collection, name = found
    guess: ranking.Mode = "max"
    if name.startswith("losses/") or any(x in name for x in _SMALLER_IS_BETTER):
        guess = "min"
    return Metric(collection, name, to_mode(mode) or guess)


def to_mode(mode: str | None) -> ranking.Mode | None:
    """Returns a mode as given.

    Raises:
      LaunchError: If it is none.
    """
    if mode in ("max", "min", None):
        return mode
    raise LaunchError(f"`mode` is 'max' or 'min': got {mode!r}.")


def _find(measured: Mapping[str, Iterable[str]], wanted: str) -> tuple[str, str]:
    known = {
        key: (collection, name)
        for collection, names in measured.items()
        for name in names
        for key in (f"{collection}.{name}", f"{collection}.{name.rpartition('/')[2]}")
    }
    if wanted in known:
        return known[wanted]
    short = [key for key in known if "/" not in key]
    raise LaunchError(
        f"No trial has measured {wanted!r}.{errors.did_you_mean(wanted, short)} Measured "
        f"are {', '.join(short)}."
    )


def _default(measured: Mapping[str, Iterable[str]]) -> tuple[str, str] | None:
    collections = sorted(measured, key=lambda name: name == _TRAIN)
    for wanted in ("metrics/", "losses/total", "losses/"):
        for collection in collections:
            for name in measured[collection]:
                if name.startswith(wanted) and (
                    collection != _TRAIN or len(collections) == 1
                ):
                    return collection, name
    return None
