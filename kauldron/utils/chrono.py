"""`Chrono`: how fast a loop runs, pauses left out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Chrono:
    """Measures steps per second and total time; its state survives restarts.

    Args:
      batch_size: Examples in a (global) batch, to report examples per second.
      clock: Returns seconds; replaced in tests.

    Example:

    ```python
    chrono = Chrono(batch_size=64)
    chrono.start_loop()
    for step in range(100):
        with chrono.pause("checkpoint"):
            ...
        ...
        chrono.finish_step()
    chrono.flush_metrics()["perf_stats/steps_per_sec"]
    ```
    """

    def __init__(
        self,
        *,
        batch_size: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._batch_size = batch_size
        self._clock = clock
        self._previous_secs = 0.0  # of earlier processes of the same run
        self._started: float | None = None
        self._begin_window()

    def _begin_window(self) -> None:
        self._window_start = self._clock()
        self._num_steps = 0
        self._paused: dict[str, list[float]] = {}

    def start_loop(self) -> None:
        """Starts the time; call it right before the first step."""
        self._started = self._clock()
        self._begin_window()

    def finish_step(self) -> None:
        """Counts a step."""
        self._num_steps += 1

    @contextlib.contextmanager
    def pause(self, report_as: str) -> Iterator[None]:
        """Leaves the block out of the step time, and reports its mean duration."""
        start = self._clock()
        try:
            yield
        finally:
            self._paused.setdefault(report_as, []).append(self._clock() - start)

    @property
    def total_secs(self) -> float:
        """Seconds since `start_loop`, those of earlier processes included."""
        if self._started is None:
            return self._previous_secs
        return self._previous_secs + self._clock() - self._started

    def flush_metrics(self) -> dict[str, float]:
        """Returns the measurements since the last call, and starts anew."""
        pauses = sum(sum(secs) for secs in self._paused.values())
        elapsed = max(self._clock() - self._window_start - pauses, 1e-9)
        steps_per_sec = self._num_steps / elapsed
        metrics = {"perf_stats/total_training_time_hours": self.total_secs / 3600}
        if self._num_steps:
            metrics["perf_stats/steps_per_sec"] = steps_per_sec
            if self._batch_size:
                examples_per_sec = steps_per_sec * self._batch_size
                metrics["perf_stats/data_points_per_sec_global"] = examples_per_sec
        for name, secs in self._paused.items():
            metrics[f"{name}/avg_time_sec"] = sum(secs) / len(secs)
        self._begin_window()
        return metrics

    def get_state(self) -> dict[str, float]:
        """Returns what is saved with a checkpoint."""
        return {"total_secs": self.total_secs}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state."""
        self._previous_secs = float(state["total_secs"])
