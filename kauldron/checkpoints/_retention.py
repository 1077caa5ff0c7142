"""Retention: which steps are kept. The newest always is."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from etils import epath

from kauldron import kontext
from kauldron.checkpoints import _layout
from kauldron.workdir import ranking


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepInfo:
    """What retention can be based on (also by Orbax's preservation policies).

    Attributes:
      step: Number of updates.
      time: When it was saved, with timezone.
      metrics: `{evaluator name: {metric: value}}`, `None` if nothing was measured.
    """

    step: int
    time: datetime.datetime
    metrics: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention:
    """Decides which steps stay; see `Checkpointer` for the attributes.

    `protected` steps are kept regardless of the other rules.
    """

    max_to_keep: int | None
    keep_period: int | None
    keep_time_interval: datetime.timedelta | None
    best_metric_path: str | None
    best_mode: Literal["max", "min"]
    policy: Any
    protected: frozenset[int] = frozenset()

    @property
    def keeps_all(self) -> bool:
        """Whether no step is ever deleted."""
        return self.policy is None and self.max_to_keep is None

    def kept(self, infos: Sequence[StepInfo]) -> set[int]:
        """Returns the steps to keep, of all the complete ones in ascending order."""
        if not infos or self.keeps_all:
            return {info.step for info in infos}
        kept = {infos[-1].step, *self.protected}
        if self.policy is not None:
            return kept | _chosen_by(self.policy, infos)
        kept.update(self._best(infos))
        if self.keep_period is not None:
            kept |= {i.step for i in infos if i.step % self.keep_period == 0}
        if self.keep_time_interval is not None:
            kept |= _spaced(infos, self.keep_time_interval)
        return kept

    def problem(self, infos: Sequence[StepInfo]) -> str | None:
        """Returns what is wrong if no step has the metric that says what is best."""
        path = self.best_metric_path
        measured = [info.metrics for info in infos if info.metrics]
        if path is None or not measured:
            return None
        if any(metric_at(metrics, path) is not None for metrics in measured):
            return None
        try:
            value = kontext.get_by_path(measured[-1], path)
        except (KeyError, ValueError) as e:
            return str(e)
        return f"{path!r} is no number: {value!r}."

    def best_step(self, infos: Sequence[StepInfo]) -> int | None:
        """Returns the best step; `None` if nothing says what is best."""
        if self.best_metric_path is None:
            return None
        values = values_of(infos, self.best_metric_path)
        return ranking.best_step(values, self.best_mode)

    def _best(self, infos: Sequence[StepInfo]) -> list[int]:
        """Returns the best steps, or the newest if nothing says what is best."""
        path = self.best_metric_path
        if path is None:
            newest_first = [info.step for info in reversed(infos)]
            return newest_first[: self.max_to_keep]
        ranked = ranking.ranked(values_of(infos, path), self.best_mode)
        return ranked[: self.max_to_keep]


def values_of(infos: Sequence[StepInfo], path: str) -> dict[int, float | None]:
    """Returns step -> value of a metric, `None` where it was not measured."""
    return {info.step: metric_at(info.metrics, path) for info in infos}


def metric_at(metrics: Mapping[str, Any] | None, path: str) -> float | None:
    """Returns the metric of a step, `None` if it was not measured then."""
    if metrics is None:
        return None
    try:
        return float(kontext.get_by_path(metrics, path))
    except (KeyError, TypeError, ValueError):
        return None


def step_infos(folders: Mapping[int, epath.Path]) -> list[StepInfo]:
    """Returns time and metrics of steps, from their folders."""
    return [
        StepInfo(
            step=step,
            time=_layout.saved_at(folder),
            metrics=_layout.read_metrics(folder),
        )
        for step, folder in folders.items()
    ]


def _chosen_by(policy: Any, infos: Sequence[StepInfo]) -> set[int]:
    from orbax.checkpoint import checkpoint_managers

    context = checkpoint_managers.PreservationContext()
    chosen = policy.should_preserve(infos, context=context)
    return {i.step for i, is_kept in zip(infos, chosen, strict=True) if is_kept}


def _spaced(infos: Sequence[StepInfo], interval: datetime.timedelta) -> set[int]:
    """Returns the first step, and each that is an interval later than the last one."""
    kept, last = {infos[0].step}, infos[0].time
    for info in infos[1:]:
        if info.time - last >= interval:
            kept.add(info.step)
            last = info.time
    return kept
