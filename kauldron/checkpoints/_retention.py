"""Which steps stay. The newest always does."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kauldron import kontext


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepInfo:
    """What a decision can be based on (also by Orbax's preservation policies).

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
    """Decides which steps stay; see `Checkpointer` for the attributes."""

    max_to_keep: int | None
    keep_period: int | None
    keep_time_interval: datetime.timedelta | None
    best_metric_path: str | None
    best_mode: Literal["max", "min"]
    policy: Any

    @property
    def keeps_all(self) -> bool:
        """Whether no step is ever deleted."""
        return self.policy is None and self.max_to_keep is None

    def kept(self, infos: Sequence[StepInfo]) -> set[int]:
        """Returns the steps to keep, of all the complete ones in ascending order."""
        if not infos or self.keeps_all:
            return {info.step for info in infos}
        newest = infos[-1].step
        if self.policy is not None:
            return {newest, *_chosen_by(self.policy, infos)}
        kept = {newest, *self._best(infos)}
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

    def _best(self, infos: Sequence[StepInfo]) -> list[int]:
        """Returns the best steps, or the newest if nothing says what is best."""
        path = self.best_metric_path
        if path is None:
            return [info.step for info in infos][-(self.max_to_keep or 0) :]
        ranked = sorted(infos, key=lambda info: (self._rank(info, path), info.step))
        return [info.step for info in ranked][-(self.max_to_keep or 0) :]

    def _rank(self, info: StepInfo, path: str) -> float:
        value = metric_at(info.metrics, path)
        # Not measured, or not a number: worse than anything that was.
        if value is None or math.isnan(value):
            return -math.inf
        # Clipped, so that the worst measured value is above what was not measured.
        return max(value if self.best_mode == "max" else -value, -1e308)


def metric_at(metrics: Mapping[str, Any] | None, path: str) -> float | None:
    """Returns the metric of a step, `None` if it was not measured then."""
    if metrics is None:
        return None
    try:
        return float(kontext.get_by_path(metrics, path))
    except (KeyError, TypeError, ValueError):
        return None


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
