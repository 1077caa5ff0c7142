"""Schedules, such as learning rates, over the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kauldron._base import errors
from kauldron.inspect import _svg
from kauldron.inspect.displays import line_plots

_NUM_POINTS = 1000


class ScheduleError(errors.UserError, ValueError):
    """A schedule that cannot be drawn."""


def plot_schedules(
    schedules: Mapping[str, Callable[[Any], Any] | float], num_steps: int
) -> _svg.Picture:
    """Draws schedules at up to 1000 steps.

    Args:
      schedules: Name -> function of the step, or a number; such as
        `trainer.logged_schedules`.
      num_steps: From step 0 to the one before this.

    Raises:
      ScheduleError: A `ValueError`: there are no steps, or a schedule gives no scalar.
    """
    if num_steps < 1:
        raise ScheduleError(
            f"Schedules are drawn over steps: got num_steps={num_steps}."
        )
    steps = np.unique(np.linspace(0, num_steps - 1, _NUM_POINTS).astype(np.int64))
    curves = {
        name: (steps, [_value(name, schedule, int(step)) for step in steps])
        for name, schedule in schedules.items()
    }
    return line_plots.plot_lines(curves, title="Schedules")


def _value(name: str, schedule: Any, step: int) -> float:
    value = np.asarray(schedule(step) if callable(schedule) else schedule)
    if value.ndim:
        raise ScheduleError(
            f"A schedule gives one number a step: {name!r} gives {value.shape}."
        )
    return float(value)
