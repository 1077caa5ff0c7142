"""Progress reports on a run: a live display, or a line now and then."""

from __future__ import annotations

import collections
import contextlib
import datetime
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from etils import epath

from kauldron._base import console
from kauldron.recording import _progress_display
from kauldron.recording import chrono as chrono_lib
from kauldron.step import auxiliaries

# The rate shown is that of about the last seconds.
_RATE_WINDOW_SECS = 10.0

_PAUSE_LABELS = {
    "compile": "compiling",
    "evals_along_train": "evaluating",
    "checkpoint": "saving",
}
_SHARE_LABELS = {
    "step": "steps",
    "data_wait": "data",
    "evals_along_train": "eval",
    "checkpoint": "checkpoint",
    "metrics_writing": "writing",
}
_MAX_EVALUATIONS = 8
# Of the curve of a loss, in a picture 520 pixels wide.
_MAX_POINTS = 1000
_RECURRING = ("evals_along_train", "checkpoint", "metrics_writing")


class Progress:
    """Shows a run: live on a terminal or in a notebook, as lines elsewhere.

    Use it as a context: the terminal is restored however the block is left.

    Args:
      first_step: Where this process begins.
      last_step: Number of updates of the whole run.
      chrono: Clock of the loop.
      label: Name of the run in the display.

    Attributes:
      step: Number of updates so far; the loop sets it, the display reads it.
    """

    def __init__(
        self,
        first_step: int,
        last_step: int,
        *,
        chrono: chrono_lib.Chrono,
        label: str = "train",
    ) -> None:
        self.step = first_step
        self._first_step = first_step
        self._last_step = last_step
        self._chrono = chrono
        self._label = label
        self._losses: list[str] = []
        self._evaluations: dict[str, list[str]] = {}
        self._curves: dict[str, list[tuple[float, float]]] = {}
        self._samples: collections.deque[tuple[float, int]] = collections.deque()
        self._paused_at_start = 0.0
        self._display: _progress_display.Display | None = None

    def __enter__(self) -> Self:
        if console.is_lead_host():
            with _reported():
                self._display = _progress_display.start(self.snapshot)
        return self

    def __exit__(self, *exc: object) -> None:
        display, self._display = self._display, None
        if display is not None:
            with _reported():
                display.stop()

    def show(
        self,
        step: int,
        values: auxiliaries.AuxiliariesOutput,
        timings: Mapping[str, float],
    ) -> None:
        """Shows losses and metrics of a step; as a line if there is no live display."""
        parts = headline(values)
        self._losses = parts
        self._note_loss(self._label, step, values)
        if self._display is not None:
            return
        line = [f"step {step:>{len(str(self._last_step))}}/{self._last_step}", *parts]
        rate = timings.get("perf_stats/steps_per_sec")
        # The window that ends with the first step holds nothing but start-up.
        if rate and step > self._first_step:
            line += [
                f"{rate:.4g} steps/s",
                f"ETA {_time((self._last_step - step) / rate)}",
            ]
        console.log("  ".join(line))

    def show_evaluation(
        self, name: str, step: int, values: auxiliaries.AuxiliariesOutput
    ) -> None:
        """Prints the results of an evaluation; they also stay in the live display."""
        parts = [f"[{name}] step {step}", *headline(values)]
        self._evaluations = {**self._evaluations, name: parts}  # others may be reading
        self._note_loss(name, step, values)
        if self._display is None or self._display.shows_lines:
            console.log("  ".join(["", *parts]))

    def snapshot(self) -> _progress_display.Snapshot:
        """Returns what to show now."""
        step, rate = self.step, self._rate()
        if step == self._first_step:
            self._paused_at_start = self._paused_secs()
        fields = [f"{step}/{self._last_step}"]
        chrono = self._chrono
        if chrono.running_pause is not None:
            name = chrono.running_pause
            fields.append(f"{_PAUSE_LABELS.get(name, name)}…")
        if rate:
            fields.append(f"{_number(rate)} steps/s")
            left = (self._last_step - step) / rate * self._pause_factor()
            fields.append(f"ETA {_time(left)}")
            if chrono.batch_size:
                fields.append(f"{_number(rate * chrono.batch_size)} examples/s")
        lines = [self._losses, *list(self._evaluations.values())[:_MAX_EVALUATIONS]]
        return _progress_display.Snapshot(
            label=self._label,
            done=self._done_fraction(step),
            fields=fields,
            lines=[x for x in [*lines, self._times()] if x],
            losses={
                name: ([step for step, _ in points], [loss for _, loss in points])
                # Copies: another thread adds to them.
                for name, points in ((k, [*x]) for k, x in [*self._curves.items()])
            },
        )

    def _note_loss(
        self, name: str, step: int, values: auxiliaries.AuxiliariesOutput
    ) -> None:
        """Keeps a point of a curve; of a long one, every second point is forgotten."""
        loss = _single(values.loss_values.get("losses/total", ()))
        if loss is None:
            return
        points = self._curves.setdefault(name, [])
        points.append((step, loss))
        if len(points) > _MAX_POINTS:
            self._curves[name] = points[::2]

    def _done_fraction(self, step: int) -> float:
        return min(step / self._last_step, 1.0) if self._last_step else 1.0

    def _pause_factor(self) -> float:
        """The ratio of the total time to the time of the steps.

        Future evaluations and checkpoints are assumed to take the same share of the
        time as past ones, excluding those before the first step.
        """
        working = max(self._chrono.active_secs(), 1e-9)
        return 1 + (self._paused_secs() - self._paused_at_start) / working

    def _paused_secs(self) -> float:
        return sum(self._chrono.pause_total_secs(x) for x in _RECURRING)

    def _times(self) -> list[str]:
        shares = self._chrono.shares()
        parts = [
            f"{label} {shares[name]:.0%}"
            for name, label in _SHARE_LABELS.items()
            if name in shares
        ]
        compile_secs = self._chrono.pause_total_secs("compile")
        if compile_secs:
            parts.append(f"compile {shares['compile']:.0%} ({compile_secs:.1f} s)")
        return parts

    def _rate(self) -> float | None:
        """Steps per second without pauses, over about the last seconds."""
        samples = self._samples
        now = self._chrono.active_secs()
        samples.append((now, self.step))
        while len(samples) > 2 and now - samples[0][0] > _RATE_WINDOW_SECS:
            samples.popleft()
        (start, first), (end, last) = samples[0], samples[-1]
        return (last - first) / (end - start) if end > start and last > first else None


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """A display error must not stop a run."""
    try:
        yield
    except Exception as e:
        console.warn(f"the progress cannot be shown: {e!r}. This stops nothing.")


def headline(values: auxiliaries.AuxiliariesOutput) -> list[str]:
    """Returns the total loss and the first metrics, each as `name value`."""
    numbers = [("loss", values.loss_values.get("losses/total", ()))]
    metrics = ((k.split("/", 1)[-1], v) for k, v in values.metric_values.items())
    single = ((name, _single(v)) for name, v in itertools.chain(numbers, metrics))
    shown = (f"{name} {v:.4g}" for name, v in single if v is not None)
    return list(itertools.islice(shown, 5))


def _single(value: Any) -> float | None:
    """Returns one number, whatever axes it has; `None` for several, or none."""
    array = np.asarray(value)
    return float(array.item()) if array.size == 1 else None


def finished_message(
    workdir: epath.PathLike,
    step: int,
    last_step: int,
    *,
    limit: str,
    stop_reason: str | None = None,
    problems: Sequence[str] = (),
) -> str:
    """Returns the message shown when there is nothing left to do.

    Args:
      workdir: Directory of the run.
      step: Updates applied.
      last_step: Updates the run was to make.
      limit: What says which step is the last one: `` `--cfg.num_train_steps` ``.
      stop_reason: Why it has ended earlier.
      problems: What went wrong without ending the run.
    """
    told = [f"Finished: {os.fspath(workdir)} is at step {step}"]
    if stop_reason is not None:
        told.append(f" of {last_step}; stopped early: {stop_reason}")
    elif step > last_step:
        told.append(f", beyond the {last_step} of {limit}: nothing was trained")
    if problems:
        return "".join([*told, f". Not all went well: {'; '.join(problems)}."])
    if stop_reason is None and step > last_step:
        told.append(
            f". To train longer, raise that above {step}; for a run of {last_step} steps, "
            "choose another `--cfg.workdir=...`"
        )
    elif stop_reason is None:
        told.append(f". To train longer, raise {limit}")
    return "".join([*told, "."])


def _time(secs: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=round(min(secs, 1e9)))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
