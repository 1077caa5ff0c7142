"""Schedules of how long a `TrainEvaluator` trains, by the step of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping


def constant_stop_after_steps(num_steps: int) -> Callable[[int], int]:
    """Returns a function of the step that is always `num_steps`."""
    return _Piecewise(num_steps, {})


def piecewise_stop_after_steps(
    init_value: int, boundaries_and_values: Mapping[int, int]
) -> Callable[[int], int]:
    """Returns a function of the step that is constant between boundaries.

    Args:
      init_value: Number of steps before the first boundary.
      boundaries_and_values: Step of the run -> number of steps from there on.

    Example:

    ```python
    # Short at first, long when the features are worth it.
    kd.contrib.evals.piecewise_stop_after_steps(100, {10_000: 1_000})
    ```
    """
    return _Piecewise(init_value, dict(boundaries_and_values))


@dataclasses.dataclass(frozen=True)
class _Piecewise:
    init_value: int
    values: Mapping[int, int]

    def __post_init__(self) -> None:
        if min([self.init_value, *self.values.values()]) < 1:
            raise ValueError(
                f"A number of steps is at least 1: got {self.init_value} and "
                f"{dict(self.values)}."
            )

    def __call__(self, step: int) -> int:
        passed = [boundary for boundary in self.values if boundary <= step]
        return self.values[max(passed)] if passed else self.init_value
