"""Orbax preservation policies: which steps are kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from kauldron import kontext


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpStep:
    """Keeps steps ever further apart: `interval * base**k` for k = 0, 1, 2, ...

    Where no such step was saved, the first one after it stays.

    Attributes:
      interval: The first of them, >= 1.
      base: Factor from one to the next, > 1.

    Raises:
      ValueError: If one is out of range.
    """

    interval: int = 100
    base: float = 2

    def __post_init__(self) -> None:
        if self.interval < 1 or self.base <= 1:
            raise ValueError(
                "ExpStep needs `interval >= 1` and `base > 1`: got "
                f"interval={self.interval}, base={self.base}."
            )

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any = None
    ) -> list[bool]:
        """Returns for each checkpoint, in ascending order, whether it stays."""
        del context
        kept, last = [], 0
        for checkpoint in checkpoints:
            exponent = self._exponent(checkpoint.step)
            kept.append(exponent > last)
            last = max(last, exponent)
        return kept

    def _exponent(self, step: int) -> int:
        """Returns how many of the steps `interval * base**k` are at `step` or before."""
        if step < self.interval:
            return 0
        count = 1 + math.floor(math.log(step / self.interval, self.base))
        # Logarithms of exact powers come out a little too small or too large.
        while self.interval * self.base**count <= step:
            count += 1
        while self.interval * self.base ** (count - 1) > step:
            count -= 1
        return count


def keep_best_n(
    metric_path: str,
    n: int,
    *,
    mode: Literal["max", "min"] = "max",
    keep_checkpoints_without_metrics: bool = False,
) -> Any:
    """Returns a policy that keeps the best steps.

    Args:
      metric_path: Key into `{evaluator name: {metric: value}}`: `'eval.accuracy'`.
      n: How many, >= 1.
      mode: Whether the largest or the smallest value is best. Of equal ones the earliest
        step is.
      keep_checkpoints_without_metrics: Whether steps at which nothing was measured stay.
    """
    return _BestN(
        metric_path=metric_path,
        n=n,
        mode=mode,
        keep_unmeasured=keep_checkpoints_without_metrics,
    )


def keep_exp_step_and_best_n(
    metric_path: str,
    n: int,
    *,
    interval: int = 100,
    base: float = 2,
    mode: Literal["max", "min"] = "max",
) -> Any:
    """Returns a policy that keeps the best steps, and those of `ExpStep`."""
    from orbax.checkpoint import checkpoint_managers

    return checkpoint_managers.AnyPreservationPolicy(
        [ExpStep(interval=interval, base=base), keep_best_n(metric_path, n, mode=mode)]
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _BestN:
    metric_path: str
    n: int
    mode: Literal["max", "min"]
    keep_unmeasured: bool

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"`n` must be at least 1: got {self.n}.")
        if self.mode not in ("max", "min"):
            raise ValueError(f"`mode` is 'max' or 'min': got {self.mode!r}.")

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any = None
    ) -> list[bool]:
        """Returns for each checkpoint whether it stays; of equal ones, the earliest."""
        del context
        sign = 1 if self.mode == "max" else -1
        values = [self._value(checkpoint.metrics) for checkpoint in checkpoints]
        ranked = sorted(
            (-sign * value, i) for i, value in enumerate(values) if value is not None
        )
        best = {i for _, i in ranked[: self.n]}
        return [
            i in best or (self.keep_unmeasured and value is None)
            for i, value in enumerate(values)
        ]

    def _value(self, metrics: Any) -> float | None:
        if not metrics:
            return None
        try:
            value = float(kontext.get_by_path(metrics, self.metric_path))
        except (KeyError, TypeError, ValueError):
            return None
        return None if math.isnan(value) else value
