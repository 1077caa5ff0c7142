"""`PruneTrial`: ends a trial early whose values are worse than those of others."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from kauldron import sharding
from kauldron._base import console, errors
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.tracking.tuning import _history, _optuna, _space, _study_file
from kauldron.train import hooks


@dataclasses.dataclass
class _Record:
    """What the hook remembers."""

    last_step: int = 0
    reason: str = ""
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PruneTrial(hooks.Hook):
    """Ends a trial of a study early if its pruner says so.

    A study adds it to each of its trials. After each evaluation that measures the metric,
    it reads what the other trials have given, from their workdirs beside this one, and
    asks the pruner. A trial that is given up ends regularly: it is saved, and starting
    it again does not train on.
    """

    _record: _Record = dataclasses.field(
        default_factory=_Record, init=False, repr=False
    )

    def get_state(self) -> dict[str, Any]:
        """Returns what is saved with a checkpoint."""
        return dataclasses.asdict(self._record)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state."""
        vars(self._record).update(dataclasses.asdict(_Record(**state)))

    def reset(self) -> None:
        self.set_state({})

    def check(self, trainer: base.Run) -> None:
        folder, _ = _place(trainer)
        saved = _study_file.open(folder)
        collection, _, name = saved.metric.partition(".")
        evaluator = trainer.evals.get(collection)
        if evaluator is None:
            return
        if not evaluator.run.is_along_train:
            raise hooks.HookError(
                f"{saved.metric!r} is measured in a process of its own, so that nobody "
                "knows it when a trial ends. Name one that is measured along the training."
            )
        measures = evaluator.measures()
        # A metric may have several numbers: `metrics/report/recall`.
        if measures is not None and "/" not in name and name not in measures:
            near = errors.did_you_mean(name, measures)
            raise hooks.HookError(
                f"No trial will measure {saved.metric!r}.{near} {collection!r} measures "
                f"{', '.join(measures)}."
            )

    def on_start(self, run: hooks.RunControl) -> None:
        if self._record.reason:
            run.stop(self._record.reason)

    def on_eval(
        self, run: hooks.RunControl, *, step: int, name: str, values: Mapping[str, Any]
    ) -> None:
        folder, trial = _place(run.trainer)
        saved = _study_file.open(folder)
        collection, _, wanted = saved.metric.partition(".")
        if name != collection or saved.pruner == "none":
            return
        record = self._record
        if step <= record.last_step:  # before it has learnt, or again after a restart
            return
        record.last_step = step
        value = _find(values, wanted)
        if value is None:
            return
        # The processes of a run read at different times, and must say the same.
        is_bad = console.is_lead_host() and self._judge(folder, trial, step, value)
        # At its last step, a trial is done, whatever it has reached.
        if _any_process(is_bad) and step < run.last_step:
            record.reason = (
                f"pruned: {saved.metric} is {value:.4g} at step {step}, which is not "
                f"enough for `{saved.pruner}`"
            )
            run.stop(record.reason)

    def on_end(self, run: hooks.RunControl, *, step: int, state: TrainState) -> None:
        del step, state
        if self._record.reason and console.is_lead_host():
            self._write(run)

    def _write(self, run: hooks.RunControl) -> None:
        record, workdir = self._record, os.fspath(run.trainer.workdir)
        _history.write_pruning(workdir, attrs=record.attrs, reason=record.reason)

    def _judge(self, folder: str, name: str, step: int, value: float) -> bool:
        """Asks the pruner, with what all trials have given so far."""
        saved, record = _study_file.open(folder), self._record
        trials = _history.Reader(folder, saved.metric, saved.mode).read()
        number = next((t.number for t in trials if t.name == name), None)
        if number is None:
            return False
        before = {s: v for s, v in trials[number].values.items() if s < step}
        trials[number] = dataclasses.replace(
            trials[number],
            state="running",
            values={**before, step: value},
            attrs=record.attrs,
        )
        texts = (f"{path}={text}" for path, text in saved.space.items())
        is_bad, attrs = _optuna.judge(
            trials,
            number,
            _space.Space(_space.parse(texts)),
            saved.mode,
            pruner=saved.pruner,
        )
        record.attrs = dict(attrs)
        _history.write_pruning(trials[number].workdir, attrs=attrs, reason="")
        return is_bad


def _place(trainer: Any) -> tuple[str, str]:
    """Returns the folder of the study, and the name of the trial."""
    folder, name = os.path.split(os.path.normpath(os.fspath(trainer.workdir)))
    return folder, name


def _find(values: Mapping[str, Any], wanted: str) -> float | None:
    """Returns the number that is called like this; `None` if there is none."""
    wanted = wanted.removeprefix("metrics/").removeprefix("losses/")
    numbers = dict(_flat(values, ""))
    if wanted in numbers:
        return numbers[wanted]
    ends = (v for name, v in numbers.items() if name.rpartition("/")[2] == wanted)
    return next(ends, None)


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif np.size(value) == 1:
            yield f"{prefix}{name}", float(np.asarray(value).item())


def _any_process(is_true: bool) -> bool:
    """Whether one of the processes of the run says so."""
    if jax.process_count() == 1:
        return is_true
    (most,) = jax.device_get(sharding.max_over_processes(np.array([is_true], "f4")))
    return bool(most)
