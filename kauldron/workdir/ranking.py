"""Ranking of steps by a metric: the single definition of "best".

A value beats another if it is strictly better. So of equal ones the earliest step is the
best, today and after a restart. NaN is worse than every number, and so is a step at which
nothing was measured. Early stopping, checkpoint retention, sweeps, `kauldron ckpt ls` and
`--step=best` all use this rule: what one of them calls best, no other deletes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Mode = Literal["max", "min"]


def is_better(
    value: float | None, than: float | None, mode: Mode, *, min_delta: float = 0.0
) -> bool:
    """Whether a value beats another one.

    Args:
      value: The value; `None` if nothing was measured.
      than: The value to beat, `None` if there is none yet.
      mode: Whether a larger or a smaller value is better.
      min_delta: By how much more than this it must be better, >= 0.
    """
    if value is None or math.isnan(value):
        return False
    if than is None or math.isnan(than):
        return True
    if value == than:  # infinities, too, whose difference is NaN
        return False
    return (value - than if mode == "max" else than - value) > min_delta


def ranked(values: Mapping[int, float | None], mode: Mode) -> list[int]:
    """Returns steps, the best first; of equals the earliest.

    Steps without a number come last, the newest of them first: there is no reason to
    prefer another.

    Args:
      values: Step -> value, `None` if nothing was measured.
      mode: Whether a larger or a smaller value is better.
    """
    numbers = {
        step: value
        for step, value in values.items()
        if value is not None and is_better(value, None, mode)
    }
    sign = -1 if mode == "max" else 1
    best_first = sorted(numbers, key=lambda step: (sign * numbers[step], step))
    return [*best_first, *sorted(values.keys() - numbers, reverse=True)]


def best_step(values: Mapping[int, float | None], mode: Mode) -> int | None:
    """Returns the best step, `None` if there is no number at all."""
    first = next(iter(ranked(values, mode)), None)
    return first if first is not None and is_better(values[first], None, mode) else None
