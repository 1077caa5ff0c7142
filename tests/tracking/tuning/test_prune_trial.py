"""Pruning that prunes: a trial that is worse than others ends early, for good."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import flax
import pytest

from kauldron import kd
from kauldron.metrics import base_state
from kauldron.tracking.tuning import _history, _study_file
from kauldron.workdir import run_status, sweep_file
from tests.tracking.tuning import fake_trials
from tests.train import small_run

tune = kd.tracking.tune

# What the others have reached after 2, 4, 6 and 8 steps.
_OTHERS = {"width=1": 0.4, "width=2": 0.6, "width=3": 0.8}


@flax.struct.dataclass
class _Number(base_state.State):
    value: float

    def merge(self, other):
        return other

    def compute(self):
        return self.value


class Scripted(kd.evals.EvaluatorBase):
    """Measures what is written down for the step."""

    def evaluate(self, state, step):
        states = {"accuracy": _Number(SCRIPT[step])}
        aux = kd.train.AuxiliariesState(metric_states=states)
        self.writer.write_step_metrics(
            step=step, aux=aux, schedules={}, log_summaries=False
        )
        return aux


SCRIPT: dict[int, float] = {}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """The folder of a study of which three trials are done."""
    names = [*_OTHERS, "width=4"]
    trials = [
        sweep_file.Trial(name=name, overrides={"aux.width": name[-1]}) for name in names
    ]
    saved = sweep_file.SavedSweep(
        config="c.py", flags=[], labels={"aux.width": "width"}, trials=trials
    )
    sweep_file.write(tmp_path, saved)
    _write_study(tmp_path, pruner="MedianPruner(n_startup_trials=3)")
    for name, reached in _OTHERS.items():
        workdir = str(tmp_path / name)
        fake_trials.write_run(workdir, lambda r=reached: r, num_steps=4, every=2)
    return tmp_path


def _write_study(folder, **changes) -> None:
    fields = {
        "space": {"aux.width": "int(1,9)"},
        "metric": "eval.accuracy",
        "mode": "max",
        "num_trials": 9,
        "sampler": "tpe",
        "pruner": "none",
        "seed": 0,
    }
    _study_file.write(folder, _study_file.SavedStudy(**{**fields, **changes}))


def _trainer(folder, script, **changes):
    SCRIPT.clear()
    SCRIPT.update({2 * i: value for i, value in enumerate(script)})
    kwargs = {
        "num_train_steps": 8,
        "log_metrics_every": 100,
        "train_metrics": {},
        "hooks": {"pruning": tune.PruneTrial()},
        "evals": {"eval": Scripted(run=kd.evals.EveryNSteps(2))},
        "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=2),
        **changes,
    }
    return small_run.make_trainer(folder / "width=4", **kwargs)


def _state(folder) -> tuple[str, int, float | None]:
    trial = tune.read_study(str(folder)).trials[3]
    return trial.state, trial.step, trial.best


# The median of the others is 0.15 at step 2, 0.3 at 4, 0.45 at 6, 0.6 at 8. The first
# step does not count, and the last one ends the trial anyway.
_BAD_AT_4 = [0.0, 0.2, 0.25, 0.9, 0.9]
_GOOD = [0.99, 0.2, 0.5, 0.5, 0.55]


def test_pruning_prunes_at_the_evaluation_that_is_worse_than_the_median(folder):
    trainer = _trainer(folder, _BAD_AT_4)
    state, _ = trainer.train()
    assert int(state.step) == 4
    assert _state(folder) == ("pruned", 4, 0.25)
    trial = tune.read_study(str(folder)).trials[3]
    assert "eval.accuracy is 0.25 at step 4" in trial.message
    # A regular end: the state is saved, and starting it again does not train on.
    assert run_status.read(trial.workdir).state == "done"
    assert trainer.checkpointer.latest_step == 4
    again, _ = _trainer(folder, _BAD_AT_4).train()
    assert int(again.step) == 4
    assert _state(folder) == ("pruned", 4, 0.25)


def test_a_trial_that_is_good_enough_is_trained_to_its_end(folder):
    state, _ = _trainer(folder, _GOOD).train()
    assert int(state.step) == 8
    assert _state(folder) == ("done", 8, 0.55)


@pytest.mark.slow
def test_without_a_pruner_and_with_too_few_others_nothing_is_pruned(folder):
    _write_study(folder, pruner="none")
    assert int(_trainer(folder, _BAD_AT_4).train()[0].step) == 8
    shutil.rmtree(folder / "width=4")
    shutil.rmtree(folder / "width=3")  # two are left, three are needed
    _write_study(folder, pruner="MedianPruner(n_startup_trials=3)")
    assert int(_trainer(folder, _BAD_AT_4).train()[0].step) == 8


class _Killed(BaseException):
    pass


class _KilledAt(kd.train.Hook):
    """Ends the process, as far as the others can tell, at an event."""

    def __init__(self, event):
        self.event = event

    def _die(self, event):
        if event == self.event:
            raise _Killed

    def on_eval(self, run, *, step, name, values):
        if step == 4:
            self._die("eval")

    def on_checkpoint(self, run, *, step):
        if step == 4:
            self._die("checkpoint")

    def on_end(self, run, *, step, state):
        self._die("end")


@pytest.mark.parametrize(
    ("order", "event"), [("after", "eval"), ("after", "checkpoint"), ("before", "end")]
)
def test_killed_around_its_end_a_trial_is_pruned_once_all_the_same(
    folder, order, event
):
    hooks = {"pruning": tune.PruneTrial(), "killer": _KilledAt(event)}
    if order == "before":
        hooks = dict(reversed(hooks.items()))
    with pytest.raises(_Killed):
        _trainer(folder, _BAD_AT_4, hooks=hooks).train()
    _say_killed(folder / "width=4")
    assert _state(folder)[0] == "running"  # it is to be continued
    state, _ = _trainer(folder, _BAD_AT_4).train()
    assert int(state.step) == 4
    assert _state(folder) == ("pruned", 4, 0.25)


def _say_killed(workdir) -> None:
    """Leaves the status as a process that was killed leaves it."""
    path = workdir / "status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps({**status, "state": "running"}))


def test_what_a_pruner_keeps_of_a_trial_is_read_by_the_others(folder):
    pruner = "SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)"
    _write_study(folder, pruner=pruner)
    for name, value in (("width=1", 0.1), ("width=2", 0.9)):
        attrs = {"completed_rung_0": value}
        _history.write_pruning(str(folder / name), attrs=attrs, reason="")
    # Of 0.1, 0.9 and 0.2 the best one goes on, of 0.1, 0.9 and 0.95 the last.
    assert int(_trainer(folder, [0.0, 0.2, 1, 1, 1]).train()[0].step) == 2
    kept = _history.read_pruning(os.fspath(folder / "width=4"))
    assert kept["attrs"] == {"completed_rung_0": 0.2}


def test_a_hook_outside_of_a_study_or_of_its_metric_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="No trial will measure"):
        _trainer(
            folder,
            _GOOD,
            evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(2))},
        ).train()
    with pytest.raises(ValueError, match="is no folder of a study"):
        _trainer(tmp_path / "width=1", _GOOD).train()
    standalone = Scripted(run=kd.evals.StandaloneEveryCheckpoint())
    with pytest.raises(ValueError, match="measured in a process of its own"):
        _trainer(folder, _GOOD, evals={"eval": standalone}).train()
