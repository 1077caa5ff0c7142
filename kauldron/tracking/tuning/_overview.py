"""All trials of a study at a glance, read from its folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kauldron._base import text_tables
from kauldron.tracking.tuning import _history, _optuna, _space, _study_file
from kauldron.tracking.tuning._history import StudyTrial
from kauldron.workdir import ranking, sweep_file

_NOTHING = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyOverview:
    """One look at a study; `print` shows it as a table.

    Attributes:
      workdir: Folder of the study.
      config: Path of its config file.
      space: Path -> its values, as text.
      labels: Path -> its short name.
      metric: What trials are compared by.
      mode: Which of its values is the best.
      num_trials: How many trials there are to be.
      trials: The trials, in the order in which they were proposed.
    """

    workdir: str
    config: str
    space: Mapping[str, str]
    labels: Mapping[str, str]
    metric: str
    mode: ranking.Mode
    num_trials: int
    trials: tuple[StudyTrial, ...]

    @property
    def best(self) -> StudyTrial | None:
        """The best of the trials that are done, the first of equal ones."""
        return _history.best_of(self.trials, self.mode)

    def to_optuna(self) -> Any:
        """Returns it as an `optuna.Study`, in memory, for whatever Optuna can do with it."""
        texts = (f"{path}={text}" for path, text in self.space.items())
        space = _space.Space(_space.parse(texts))
        return _optuna.to_study(self.trials, space, self.mode)

    def importance(self) -> dict[str, float]:
        """Returns path -> its share in whether a trial is among the best; in all 1.

        Of the paths that are set in all trials. Returns nothing while fewer than four
        trials are done, or all are equally good.
        """
        done = [trial for trial in self.trials if trial.state == "done"]
        if len(done) < 4 or len({trial.best for trial in done}) == 1:
            return {}
        paths = [p for p in self.space if all(p in t.overrides for t in done)]
        return _optuna.importance(self.to_optuna(), paths)

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        best = self.best
        fields = dataclasses.asdict(self)
        fields["trials"] = [_to_json(trial) for trial in self.trials]
        return {**fields, "best": best and best.name, "importance": self.importance()}

    def __str__(self) -> str:
        head = ["", "#", *self.labels.values(), "state", "step", self.metric, "at step"]
        rows = [head, *(self._row(trial) for trial in self.trials)]
        num_columns = len(head)
        if any(trial.state == "failed" and trial.message for trial in self.trials):
            whys = (t.message if t.state == "failed" else "" for t in self.trials)
            for row, cell in zip(rows, ("why", *whys), strict=True):
                row.append(cell)
        right = (1, *range(len(self.labels) + 3, num_columns))
        return text_tables.aligned(rows, right=right)

    def _row(self, trial: StudyTrial) -> list[str]:
        best = self.best
        is_best = best is not None and trial.number == best.number
        steps = f"{trial.step}/{trial.num_steps}" if trial.num_steps else _NOTHING
        value = _NOTHING if trial.best is None else f"{trial.best:.4g}"
        at = _NOTHING if trial.best_step is None else str(trial.best_step)
        shown = [trial.overrides.get(path, _NOTHING) for path in self.labels]
        marks = ["*" if is_best else "", str(trial.number)]
        return [*marks, *shown, trial.state, steps, value, at]

    def summary(self) -> str:
        """Returns how many trials are in which state, and the best, in a line."""
        states = [trial.state for trial in self.trials]
        parts = [f"{states.count(s)} {s}" for s in dict.fromkeys(sorted(states))]
        text = f"{len(states)} of {self.num_trials} trials: {', '.join(parts)}."
        best = self.best
        if best is None:
            return text if states else f"0 of {self.num_trials} trials."
        return f"{text} Best {self.metric}: {best.best:.4g}, of {best.name}."


def _to_json(trial: StudyTrial) -> dict[str, Any]:
    fields = dataclasses.asdict(trial)
    del fields["attrs"]
    # JSON knows no NaN.
    values = {s: None if v != v else v for s, v in trial.values.items()}
    return {**fields, "values": values}


def read_study(workdir: str) -> StudyOverview:
    """Returns how the trials of a study are doing; needs no process of the study.

    Args:
      workdir: Folder of the study.

    Raises:
      StudyError: If there is no study.
    """
    saved = _study_file.open(workdir)
    sweep = sweep_file.read(workdir)
    reader = _history.Reader(workdir, saved.metric, saved.mode)
    return StudyOverview(
        workdir=workdir,
        config=sweep.config if sweep else "",
        space=saved.space,
        labels=sweep.labels if sweep else {},
        metric=saved.metric,
        mode=saved.mode,
        num_trials=saved.num_trials,
        trials=tuple(reader.read()),
    )
