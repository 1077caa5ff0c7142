"""All trials of a sweep at a glance: how each is doing, and which is the best."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from kauldron._base import console, errors, text_tables
from kauldron.launch import _backend_choice
from kauldron.launch._backend import Backend, Handle, Status
from kauldron.launch._task_record import TaskRecord
from kauldron.launch.sweeps import _folder, _sweep, _trial_status
from kauldron.launch.sweeps._trial_status import TrialState, TrialStatus
from kauldron.workdir import measured, record_reader

_NOTHING = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overview:
    """One look at a sweep; `print` shows it as a table.

    Attributes:
      workdir: Folder of the sweep.
      config: Path of its config file.
      labels: Path -> its short name.
      trials: How each trial is doing.
      metric: What they are compared by; `None` while nothing was measured.
    """

    workdir: str
    config: str
    labels: Mapping[str, str]
    trials: tuple[TrialStatus, ...]
    metric: measured.Metric | None = None

    @property
    def best(self) -> TrialStatus | None:
        """The trial with the best value of the metric, the first of equal ones."""
        best: TrialStatus | None = None
        for trial in self.trials:
            if trial.value is None or self.metric is None:
                continue
            if (
                best is None
                or best.value is None
                or self.metric.is_better(trial.value, best.value)
            ):
                best = trial
        return best

    def count(self, *states: TrialState) -> int:
        """Returns how many trials are in one of these states."""
        return sum(trial.state in states for trial in self.trials)

    @property
    def exit_code(self) -> int:
        """Of a program that has run it: 1 if a trial has failed, else 75 if one was
        interrupted, else 3 if something was lost in one, else 0."""
        if self.count(TrialState.FAILED, TrialState.LOST):
            return 1
        if self.count(TrialState.INTERRUPTED):
            return 75
        return 3 if any(trial.exit_code == 3 for trial in self.trials) else 0

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        best = self.best
        metric = self.metric
        return {
            "workdir": self.workdir,
            "config": self.config,
            "metric": metric and {"name": metric.key, "mode": metric.mode},
            "best": best and best.name,
            "trials": [trial.as_dict() for trial in self.trials],
        }

    def __str__(self) -> str:
        key = self.metric.key if self.metric else "metric"
        head = ["", *self.labels.values(), "state", "step", key, "at step"]
        rows = [head, *(self._row(trial) for trial in self.trials)]
        right = range(len(self.labels) + 2, len(head))
        return text_tables.aligned(rows, right=right)

    def _row(self, trial: TrialStatus) -> list[str]:
        steps = _NOTHING
        if trial.step is not None:
            steps = f"{trial.step}/{trial.last_step}"
        if trial.state is TrialState.RUNNING and not trial.step and trial.started:
            # What a trial loads and compiles first may take minutes.
            steps = f"starting, {max(time.time() - trial.started, 0):.0f} s"
        value = _NOTHING if trial.value is None else f"{trial.value:.4g}"
        at = _NOTHING if trial.value_step is None else str(trial.value_step)
        best = self.best
        is_best = best is not None and trial.name == best.name
        shown = [trial.overrides.get(path, _NOTHING) for path in self.labels]
        return ["*" if is_best else "", *shown, str(trial.state), steps, value, at]

    def summary(self) -> str:
        """Returns how many trials are in which state, and the best, in a line."""
        counts = {state: self.count(state) for state in TrialState}
        parts = [f"{n} {state}" for state, n in counts.items() if n]
        text = f"{len(self.trials)} trials: {', '.join(parts)}."
        best, metric = self.best, self.metric
        if best is None or metric is None:
            return text
        return f"{text} Best {metric.key}: {best.value:.4g}, of {best.name}."


class Looker:
    """Looks at the trials of a sweep, again and again.

    Args:
      folder: Of the sweep.
      saved: What the sweep is.
      backend: That runs the trials; the one that it was started with last unless given.
    """

    def __init__(
        self,
        folder: _folder.SweepFolder,
        saved: _folder.SavedSweep,
        backend: Backend | None = None,
    ) -> None:
        self._folder, self._saved = folder, saved
        self._backend = backend or _backend_choice.from_json(saved.backend)
        self._of_records: dict[str, Backend] = {}
        self._records = record_reader.RecordReader()

    def find(self, trial: _sweep.Trial) -> tuple[Backend, Handle] | None:
        """Returns what has started a trial last, and the handle; `None` if nothing has."""
        task = self._folder.task_of(trial, self._saved)
        content = TaskRecord(task.record).read()
        backend = self._backend
        if content is not None and content["backend"] != _backend_choice.name_of(
            backend
        ):
            name = content["backend"]
            if name not in self._of_records:
                self._of_records[name] = _backend_choice.by_name(name)
            backend = self._of_records[name]
        handle = backend.find(task)
        return None if handle is None else (backend, handle)

    def look(self, trials: Iterable[_sweep.Trial]) -> dict[str, TrialStatus]:
        """Returns how trials are doing, by name, without their metric.

        Raises:
          Failure: If what runs them cannot be asked now.
        """
        trials = list(trials)
        # Each backend is asked once for all: that may be a question to a cluster.
        asked: dict[int, tuple[Backend, list[tuple[str, Handle]]]] = {}
        for trial in trials:
            if (found := self.find(trial)) is not None:
                backend, handle = found
                _, handles = asked.setdefault(id(backend), (backend, []))
                handles.append((trial.name, handle))
        answers: dict[str, Status] = {}
        for backend, handles in asked.values():
            statuses = backend.ask([handle for _, handle in handles])
            names = [name for name, _ in handles]
            answers |= dict(zip(names, statuses, strict=True))
        return {t.name: self._judge(t, answers.get(t.name)) for t in trials}

    def look_at_runs(self, trials: Iterable[_sweep.Trial]) -> dict[str, TrialStatus]:
        """Returns how trials are doing as their runs say, without asking anybody."""
        return {trial.name: self._judge(trial, None) for trial in trials}

    def _judge(self, trial: _sweep.Trial, status: Status | None) -> TrialStatus:
        task = self._folder.task_of(trial, self._saved)
        state, run = _trial_status.judge(task.workdir, status)
        message = ""
        if state in (TrialState.FAILED, TrialState.LOST):
            message = (run.message if run else "") or _trial_status.last_line(task.log)
        elif state is TrialState.DONE and run:
            message = "; ".join(run.problems) or run.message
        return TrialStatus(
            name=trial.name,
            overrides=trial.overrides,
            workdir=task.workdir,
            log=task.log,
            state=state,
            step=run.step if run else None,
            last_step=run.last_step if run else None,
            started=(TaskRecord(task.record).read() or {}).get("started"),
            exit_code=status.exit_code if status else None,
            message=message.splitlines()[0] if message else "",
        )

    def overview(
        self,
        statuses: Iterable[TrialStatus],
        *,
        metric: str | None,
        mode: str | None,
    ) -> Overview:
        """Returns how trials are doing, with their best values.

        Args:
          statuses: How they are doing.
          metric: What they are compared by, see `Metric`.
          mode: Whether its largest or its smallest value is the best.

        Raises:
          MetricError: If no trial has measured that.
        """
        statuses = list(statuses)
        records = {s.name: self._records.read(s.workdir) for s in statuses}
        chosen = measured.choose(records.values(), metric, mode)
        judged = []
        for status in statuses:
            best = chosen.best_of(records[status.name]) if chosen else None
            if best is not None:
                status = dataclasses.replace(status, value_step=best[0], value=best[1])
            judged.append(status)
        return Overview(
            workdir=os.fspath(self._folder.path),
            config=self._saved.config,
            labels=self._saved.labels,
            trials=tuple(judged),
            metric=chosen,
        )


def read_sweep(
    workdir: str, *, metric: str | None = None, mode: str | None = None
) -> Overview:
    """Returns how the trials of a sweep are doing; needs no process of the sweep.

    Args:
      workdir: Folder of the sweep.
      metric: What trials are compared by, such as `'eval.accuracy'`; what the sweep was
        started with unless given, else what its evaluators measure.
      mode: Whether the largest value is the best, `'max'`, or the smallest, `'min'`.

    Raises:
      LaunchError: If there is no sweep.
      MetricError: If there is no such metric.
    """
    folder = _folder.SweepFolder(workdir)
    saved = folder.open()
    # A mode belongs to the metric that it was given with.
    if metric is None:
        metric, mode = saved.metric, mode or saved.mode
    looker = Looker(folder, saved)
    try:
        statuses = looker.look(saved.trials)
    except errors.Failure as e:  # as on a machine that is not of the cluster
        first = str(e).splitlines()[0]
        console.warn(f"{first}\nThis is what the runs have left on disk:")
        statuses = looker.look_at_runs(saved.trials)
    return looker.overview(statuses.values(), metric=metric, mode=mode)
