"""What the trials of a study have given so far, read from their workdirs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from etils import epath

from kauldron._base import shared_files
from kauldron.workdir import measured, ranking, record_reader, run_status, sweep_file

PRUNING_FILE = "pruning.json"

State = Literal["running", "done", "pruned", "failed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyTrial:
    """A trial of a study.

    Attributes:
      number: Its place among the trials, from 0.
      name: Says what differs; the name of its workdir.
      workdir: Directory of the run.
      overrides: Path -> value, as on the command line.
      state: `'done'`, `'pruned'` (ended early, as others were better), `'failed'`, or
        `'running'`: anything else, as it will be continued.
      message: Why it failed, or was pruned.
      step: Updates so far.
      num_steps: Updates that it is to make; 0 if the run did not begin.
      values: Step -> what was measured, in the order of steps; may be NaN. Not what was
        measured before the first update.
      best: The best of them, which is what the trial counts with; `None` if there is
        none.
      best_step: When that was measured.
      attrs: What the pruner keeps of the trial.
    """

    number: int
    name: str
    workdir: str
    overrides: Mapping[str, str]
    state: State
    message: str = ""
    step: int = 0
    num_steps: int = 0
    values: Mapping[int, float] = dataclasses.field(default_factory=dict)
    best: float | None = None
    best_step: int | None = None
    attrs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for trials that set the same."""
        return sweep_file.Trial(name="", overrides=self.overrides).key


def best_of(trials: Sequence[StudyTrial], mode: ranking.Mode) -> StudyTrial | None:
    """Returns the best of the trials that are done, the first of equal ones."""
    values = {trial.number: trial.best for trial in trials if trial.state == "done"}
    number = ranking.best_step(values, mode)
    return None if number is None else trials[number]


class Reader:
    """Reads the trials of a study; files that have not changed are not read again.

    Args:
      folder: Of the study.
      metric: What trials are compared by, as given: `'eval.accuracy'`.
      mode: Which of its values is the best.
    """

    def __init__(self, folder: str, metric: str, mode: ranking.Mode) -> None:
        self._folder, self._metric = folder, metric
        self._mode: ranking.Mode = mode
        self._records = record_reader.RecordReader()

    def read(self) -> list[StudyTrial]:
        """Returns the trials, in the order in which they were proposed.

        Raises:
          MetricError: If a trial has measured something, but not the metric.
        """
        saved = sweep_file.read(self._folder)
        trials = saved.trials if saved else ()
        workdirs = [os.path.join(self._folder, trial.name) for trial in trials]
        records = [self._records.read(workdir) for workdir in workdirs]
        of_collection = [self._of_collection(rs) for rs in records]
        chosen = measured.choose(of_collection, self._metric, self._mode)
        found = []
        for number, (trial, workdir) in enumerate(zip(trials, workdirs, strict=True)):
            values = _values(of_collection[number], chosen)
            found.append(self._judge(number, trial, workdir, values))
        return found

    def _of_collection(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns the records that the metric is in; others say nothing of its name."""
        collection = self._metric.partition(".")[0]
        return [r for r in records if r.get("collection") == collection]

    def _judge(
        self,
        number: int,
        trial: sweep_file.Trial,
        workdir: str,
        values: dict[int, float],
    ) -> StudyTrial:
        status, pruning = _read_status(workdir), read_pruning(workdir)
        best = ranking.best_step(dict(values), self._mode)
        state: State = "running"
        message = status.message if status else ""
        if status is not None and status.state == "failed":
            state = "failed"
        elif status is not None and status.state == "done":
            state = "done" if best is not None else "failed"
            if pruning.get("reason"):
                state, message = "pruned", pruning["reason"]
            elif best is None:
                message = f"no number was measured as {self._metric} after step 0"
        return StudyTrial(
            number=number,
            name=trial.name,
            workdir=workdir,
            overrides=trial.overrides,
            state=state,
            message=message.splitlines()[0] if message else "",
            step=status.step if status else 0,
            num_steps=status.last_step if status else 0,
            values=values,
            best=None if best is None else values[best],
            best_step=best,
            attrs=pruning.get("attrs", {}),
        )


def _values(
    records: Sequence[Mapping[str, Any]], metric: measured.Metric | None
) -> dict[int, float]:
    """Returns step -> value, rising; what is not a number is NaN."""
    if metric is None:
        return {}
    found: dict[int, float] = {}
    for record in records:
        value = record.get(metric.name)
        if value is None or record["step"] == 0:  # it has not learnt anything yet
            continue
        found[record["step"]] = float(value)  # also of "NaN"
    return {
        step: value if math.isfinite(value) else math.nan
        for step, value in sorted(found.items())
    }


def read_pruning(workdir: str) -> dict[str, Any]:
    """Returns what a trial and its pruner have left; nothing if it is damaged."""
    try:
        content = json.loads((epath.Path(workdir) / PRUNING_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_pruning(workdir: str, *, attrs: Mapping[str, Any], reason: str) -> None:
    """Writes what the pruner keeps of a trial.

    Args:
      workdir: Directory of the run.
      attrs: What the pruner keeps.
      reason: Why the trial has ended early; empty if it has not.
    """
    content = {"attrs": dict(attrs), "reason": reason}
    path = epath.Path(workdir) / PRUNING_FILE
    shared_files.write_atomically(path, json.dumps(content, indent=2))


def _read_status(workdir: str) -> run_status.RunStatus | None:
    try:
        return run_status.read(workdir)
    except (ValueError, OSError):  # damaged: the run writes it anew
        return None
