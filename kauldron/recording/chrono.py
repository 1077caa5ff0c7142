"""`Chrono`: steps per second, excluding pauses, and where the time goes."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


class Pause(enum.StrEnum):
    """Names of the pauses between training steps."""

    CHECKPOINT = "checkpoint"
    EVALS_ALONG_TRAIN = "evals_along_train"
    METRICS_WRITING = "metrics_writing"
    COMPILE = "compile"


class Chrono:
    """Measures steps per second and total time; its state survives restarts.

    All times are those of the host. Devices work asynchronously: a step that was handed
    to them counts as done. In a training the host runs ahead by a second at most, so the
    rate is right over more than that.

    Args:
      name: Name of the loop.
      batch_size: Examples in a (global) batch, to report examples per second.
      pause_names: Pauses that are reported even when there was none, as 0 seconds.
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
        name: str = "train",
        *,
        batch_size: int | None = None,
        pause_names: Sequence[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self.batch_size = batch_size
        self.running_pause: str | None = None
        self._pause_names = tuple(pause_names)
        self._clock = clock
        self._previous_secs = 0.0  # of earlier processes of the same run
        self._started: float | None = None
        self._totals: dict[str, float] = {}
        self._pause_started: float | None = None
        self._data_wait_secs = 0.0
        self._begin_window()

    def _begin_window(self) -> None:
        self._window_start = self._clock()
        self._window_data_wait = self._data_wait_secs
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
    def pause(self, report_as: str | None = None) -> Iterator[None]:
        """Leaves the block out of the step time, and reports its mean duration.

        Without a name it is left out but not reported.
        """
        name = report_as or "pause"
        start = self._pause_started = self._clock()
        self.running_pause = name
        try:
            yield
        finally:
            secs = self._clock() - start
            self.running_pause = self._pause_started = None
            self._totals[name] = self._totals.get(name, 0.0) + secs
            self._paused.setdefault(name, []).append(secs)

    def now(self) -> float:
        """Returns seconds of the clock, for `add_data_wait`."""
        return self._clock()

    def add_data_wait(self, since: float) -> None:
        """Counts the time from `since` on as waiting for data; it is part of the steps."""
        self._data_wait_secs += self._clock() - since

    @property
    def total_secs(self) -> float:
        """Seconds since `start_loop`, those of earlier processes included."""
        if self._started is None:
            return self._previous_secs
        return self._previous_secs + self._clock() - self._started

    def active_secs(self) -> float:
        """Seconds since `start_loop` of this process, without pauses."""
        return self._elapsed_secs() - sum(self._pause_secs().values())

    def shares(self) -> dict[str, float]:
        """Returns the fractions of the time since `start_loop` by where it went; they
        sum to 1.

        `data_wait` is host time in the data iterator; `step` is everything else that is
        not a pause.
        """
        elapsed = max(self._elapsed_secs(), 1e-9)
        pauses = self._pause_secs()
        wait = self._data_wait_secs
        steps = max(elapsed - sum(pauses.values()) - wait, 0.0)
        shares = {"step": steps, "data_wait": wait, **pauses}
        return {name: secs / elapsed for name, secs in shares.items()}

    def pause_total_secs(self, name: str) -> float:
        """Returns the seconds of a pause so far, in this process."""
        return self._pause_secs().get(name, 0.0)

    def _elapsed_secs(self) -> float:
        return 0.0 if self._started is None else self._clock() - self._started

    def _pause_secs(self) -> dict[str, float]:
        """Totals, the running pause included; other threads ask while it runs."""
        totals = dict(self._totals)
        name, start = self.running_pause, self._pause_started
        if name is not None and start is not None:
            totals[name] = totals.get(name, 0.0) + self._clock() - start
        return totals

    def flush_metrics(self) -> dict[str, float]:
        """Returns the measurements since the last call, and starts anew."""
        pauses = sum(sum(secs) for secs in self._paused.values())
        elapsed = max(self._clock() - self._window_start - pauses, 1e-9)
        steps_per_sec = self._num_steps / elapsed
        metrics = {"perf_stats/total_training_time_hours": self.total_secs / 3600}
        if self._num_steps:
            metrics["perf_stats/steps_per_sec"] = steps_per_sec
            wait = self._data_wait_secs - self._window_data_wait
            metrics["perf_stats/data_wait_fraction"] = min(wait / elapsed, 1.0)
            if self.batch_size:
                metrics |= _per_example(steps_per_sec * self.batch_size)
        for name in dict.fromkeys([*self._pause_names, *self._paused]):
            secs = self._paused.get(name, [0.0])
            if name != "pause":
                metrics[f"{name}/avg_time_sec"] = sum(secs) / len(secs)
        self._begin_window()
        return metrics

    def get_state(self) -> dict[str, float]:
        """Returns what is saved with a checkpoint."""
        return {"total_secs": self.total_secs}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state."""
        self._previous_secs = float(state["total_secs"])


def _per_example(examples_per_sec: float) -> dict[str, float]:
    import jax

    return {
        "perf_stats/data_points_per_sec_global": examples_per_sec,
        "perf_stats/data_points_per_sec_per_device": examples_per_sec
        / jax.device_count(),
    }
