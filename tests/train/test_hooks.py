"""Hooks are told what happens; early stopping ends a run for good."""

from __future__ import annotations

import re
import shutil
import types

import flax
import numpy as np
import pytest

from kauldron import kd, konfig
from kauldron.metrics import base_state
from kauldron.train import _hook_events
from kauldron.workdir import run_status
from tests.train import small_run


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
        value = SCRIPT[step]
        return kd.train.AuxiliariesState(metric_states={"score": _Number(value)})


SCRIPT = {}


def _make(workdir, script, *, n=2, num_train_steps=20, evals=None, **changes):
    SCRIPT.clear()
    SCRIPT.update({n * i: value for i, value in enumerate(script)})
    changes.setdefault(
        "hooks", {"stop": kd.train.EarlyStopping(metric="test.score", patience=2)}
    )
    return small_run.make_trainer(
        workdir,
        num_train_steps=num_train_steps,
        log_metrics_every=100,
        train_metrics={},
        evals={"test": Scripted(run=kd.evals.EveryNSteps(n)), **(evals or {})},
        **changes,
    )


def _checkpointer(**changes):
    return kd.ckpts.Checkpointer(**{"save_interval_steps": 100, **changes})


class Diary(kd.train.Hook):
    """Writes down every event."""

    def __init__(self):
        self.events = []

    def on_start(self, run):
        self.events.append(("start", run.first_step, run.last_step))

    def before_step(self, run, *, step, state, batch):
        assert state.params is not None
        self.events.append(("before", step, batch["x"].shape))

    def after_step(self, run, *, step, state, aux):
        self.events.append(("after", step, aux.loss_states is not None))

    def on_log(self, run, *, step, values):
        self.events.append(("log", step, list(values.loss_values)))

    def on_eval(self, run, *, step, name, values):
        self.events.append(("eval", step, name, dict(values)))

    def on_checkpoint(self, run, *, step):
        self.events.append(("checkpoint", step))

    def on_end(self, run, *, step, state):
        self.events.append(("end", step))

    def on_error(self, run, *, step, error):
        self.events.append(("error", step, type(error).__name__))


def test_events_come_in_the_order_in_which_things_happen(tmp_path):
    diary = Diary()
    _make(
        tmp_path,
        [0.5, 0.6],
        num_train_steps=2,
        hooks={"diary": diary},
        checkpointer=_checkpointer(never_save_step_zero=True),
    ).train()
    assert [e for e in diary.events if e[0] != "log"] == [
        ("start", 0, 2),
        ("eval", 0, "test", {"score": 0.5}),
        ("before", 0, (16, 3)),
        ("after", 0, True),
        ("before", 1, (16, 3)),
        ("after", 1, False),
        ("eval", 2, "test", {"score": 0.6}),
        ("checkpoint", 2),
        ("end", 2),
    ]
    logged = [e for e in diary.events if e[0] == "log"]
    assert logged == [("log", 0, ["losses/xentropy", "losses/total"])]


def test_failing_hook_is_named_and_others_are_told(tmp_path):
    class Broken(kd.train.Hook):
        def after_step(self, run, *, step, state, aux):
            raise RuntimeError("no connection")

        def on_error(self, run, *, step, error):
            raise RuntimeError("still none")

    diary = Diary()
    trainer = _make(tmp_path, [0.5], hooks={"broken": Broken(), "diary": diary})
    with pytest.raises(RuntimeError, match="no connection") as e:
        trainer.train()
    assert "In `after_step` of `cfg.hooks['broken']`." in e.value.__notes__
    assert diary.events[-1] == ("error", 1, "RuntimeError")


def test_hook_saves_at_the_step_boundary_where_it_asks(tmp_path):
    class SavesOnce(kd.train.Hook):
        def after_step(self, run, *, step, state, aux):
            if step == 2:
                run.save()

    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=5,
        hooks={"saves": SavesOnce()},
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=100),
    )
    trainer.train()
    assert list(trainer.checkpointer.all_steps) == [0, 3, 5]


def test_what_is_no_hook_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`hooks\['x'\]` must be a `kd.train.Hook`"):
        _make(tmp_path, [], hooks={"x": print})


def test_hooks_are_described_in_a_config():
    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = lazy_kd.train.EarlyStopping(metric="test.score", patience=2)
    cfg.patience = 4
    assert konfig.resolve(cfg).patience == 4


#                    0    2    4    6    8    10   12
SCORES = [0.1, 0.5, 0.4, 0.7, 0.7, float("nan"), 0.9]


@pytest.mark.parametrize(
    ("scores", "changes", "stops_at", "best_step"),
    [
        # Best at step 6; the equal value and NaN do not count as better.
        (SCORES, {}, 10, 6),
        # 0.5 and then 0.7 are better than 0.1 by more than 0.15.
        (SCORES, {"min_delta": 0.15}, 10, 6),
        # From 0.1, only 0.7 is better by more than 0.5; it comes too late.
        (SCORES, {"min_delta": 0.5}, 4, 0),
        ([-s for s in SCORES], {"mode": "min"}, 10, 6),
        # Never twice in a row without getting better, to the last step.
        ([0.1, 0.0, 0.2, 0.1, 0.3, 0.2, 0.4], {}, 12, 12),
    ],
)
def test_run_ends_after_patience_evaluations_without_getting_better(
    scores, changes, stops_at, best_step
):
    hook = kd.train.EarlyStopping(metric="test.score", patience=2, **changes)
    run = kd.train.RunControl(None, first_step=0, last_step=100)
    step = 0
    for step, score in zip(range(0, 100, 2), scores, strict=False):
        hook.on_eval(run, step=step, name="other", values={"score": 9.0})
        hook.on_eval(run, step=step, name="test", values={"score": score})
        if run.stop_reason:
            break
    assert step == stops_at
    assert hook.best_step == best_step


def test_early_stop_is_a_regular_end_and_starting_again_does_not_train_on(
    tmp_path, capfd
):
    final = Scripted(run=kd.evals.Final())
    diary = Diary()

    def make(patience):
        stop = kd.train.EarlyStopping(metric="test.score", patience=patience)
        return _make(
            tmp_path,
            SCORES,
            num_train_steps=12,
            evals={"final": final},
            hooks={"stop": stop, "diary": diary},
            checkpointer=_checkpointer(max_to_keep=None),
        )

    trainer = make(patience=2)
    state, _ = trainer.train()
    # `Final` evaluators have run, once, on the state that was saved.
    evaluated = [(e[2], e[1]) for e in diary.events if e[0] == "eval"]
    # What was due anyway has not run a second time.
    assert evaluated == [*(("test", step) for step in range(0, 11, 2)), ("final", 10)]
    err = capfd.readouterr().err
    assert "is at step 10 of 12; stopped early: test.score has not improved" in err
    assert "Best test.score: 0.7 at step 6." in err
    status = run_status.read(tmp_path)
    assert status.describe().startswith(
        "is done at step 10 (test.score has not improved"
    )

    again, aux = make(patience=2).train()
    assert aux is None
    assert small_run.state_hash(again) == small_run.state_hash(state)
    assert "stopped early" in capfd.readouterr().err

    # The best state is there, too.
    best = make(patience=2)
    restored = best.checkpointer.restore(best.init_state(), step=6)
    assert restored.step == 6

    # More patience goes on from where it was.
    assert make(patience=4).train()[0].step == 12


def test_counter_of_early_stopping_survives_a_restart(tmp_path):
    def make(**changes):
        return _make(tmp_path, SCORES, checkpointer=_checkpointer(), **changes)

    make(stop_after_steps=8).train()  # one evaluation without, counted once
    state, _ = make().train()
    assert state.step == 10
    # An older checkpoint, or a hook that is added later: it begins to count there.
    saved = tmp_path / "checkpoints/ckpt_10"
    shutil.rmtree(saved / "hooks")
    (saved / "checksums.json").unlink()  # else it would count as damaged
    SCORES_LATER = [*SCORES, 0.1, 0.1]
    assert (
        _make(tmp_path, SCORES_LATER, checkpointer=_checkpointer()).train()[0].step
        == 16
    )


def test_best_step_that_an_earlier_process_found_still_stays(tmp_path):
    hook = kd.train.EarlyStopping(metric="test.score", patience=9)
    hook.set_state({"best": 0.9, "best_step": 4, "last_step": 4})
    with _checkpointer(workdir=tmp_path, max_to_keep=1) as checkpointer:
        trainer = types.SimpleNamespace(checkpointer=checkpointer)
        hook.on_start(kd.train.RunControl(trainer, first_step=4, last_step=9))
        for step in (4, 6, 8):
            checkpointer.save({"w": np.ones(2)}, step=step, force=True)
        checkpointer.wait_until_finished()
        assert list(checkpointer.all_steps) == [4, 8]


def test_run_without_hooks_saves_nothing_for_them(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, num_train_steps=1, checkpointer=_checkpointer()
    )
    trainer.train()
    assert not (tmp_path / "checkpoints/ckpt_1/hooks").exists()


class Counts(kd.train.Hook):
    def __init__(self):
        self.num_seen = 7

    def reset(self):
        self.num_seen = 0

    def get_state(self):
        return {"num_seen": self.num_seen}

    def set_state(self, state):
        self.num_seen = state["num_seen"]


def test_hook_that_is_added_to_a_run_begins_anew_and_the_others_go_on():
    hooks = {"old": Counts(), "diary": Diary(), "new": Counts()}
    states = _hook_events.HookStates.of(hooks)
    assert states.get_state() == {"old": {"num_seen": 0}, "new": {"num_seen": 0}}
    # One that is no more is forgotten.
    states.set_state({"old": {"num_seen": 3}, "gone": {"num_seen": 5}})
    assert states.get_state() == {"old": {"num_seen": 3}, "new": {"num_seen": 0}}
    assert _hook_events.HookStates.of({"diary": Diary()}) is None


def test_first_reason_to_stop_is_the_one_that_is_told():
    run = kd.train.RunControl(None, first_step=0, last_step=100)
    run.stop("first")
    run.stop("second")
    assert run.stop_reason == "first"


def test_evaluation_that_is_repeated_after_a_restart_is_not_counted_again():
    hook = kd.train.EarlyStopping(metric="test.score", patience=2)
    run = kd.train.RunControl(None, first_step=4, last_step=100)
    hook.set_state({"best": 0.9, "best_step": 2, "num_without": 1, "last_step": 4})
    hook.on_eval(run, step=4, name="test", values={"score": 0.1})
    assert run.stop_reason is None
    assert hook.get_state()["num_without"] == 1
    hook.on_eval(run, step=6, name="test", values={"score": 0.1})
    assert "not improved for 2 evaluations (best 0.9 at step 2)" in run.stop_reason


def test_hook_is_reset_when_a_run_begins_anew():
    hook = kd.train.EarlyStopping(metric="test.score", patience=1)
    run = kd.train.RunControl(None, first_step=0, last_step=100)
    hook.on_eval(run, step=4, name="test", values={"score": 1.0})
    hook.reset()
    assert hook.best_step is None
    hook.on_eval(run, step=0, name="test", values={"score": 0.5})
    assert run.stop_reason is None


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("tset.score", "there is no 'tset'.*real, test"),
        ("real.acuracy", "'acuracy'.*Did you mean 'real.accuracy'"),
    ],
)
def test_wrong_metric_is_reported_before_anything_is_compiled(
    tmp_path, metric, message
):
    accuracy = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    real = kd.evals.Evaluator(
        run=kd.evals.EveryNSteps(5), metrics={"accuracy": accuracy}
    )
    hook = kd.train.EarlyStopping(metric=metric, patience=1)
    trainer = _make(tmp_path, [], hooks={"stop": hook}, evals={"real": real})
    with pytest.raises(kd.errors.UserError, match=re.compile(message, re.DOTALL)):
        trainer.check()


def test_metric_that_an_evaluator_does_not_give_is_reported_when_it_has_run():
    hook = kd.train.EarlyStopping(metric="test.scores", patience=1)
    run = kd.train.RunControl(None, first_step=0, last_step=100)
    with pytest.raises(KeyError, match=r"Did you mean 'test\.score'"):
        hook.on_eval(run, step=0, name="test", values={"score": 1.0})
    hook = kd.train.EarlyStopping(metric="test.score", patience=1)
    with pytest.raises(ValueError, match="must name a number"):
        hook.on_eval(run, step=0, name="test", values={"score": np.zeros(3)})


def test_impossible_values_are_refused():
    with pytest.raises(ValueError, match=r"patience >= 1.*got patience=0"):
        kd.train.EarlyStopping(metric="a.b", patience=0)
    with pytest.raises(ValueError, match=r"min_delta >= 0.*min_delta=-0\.1"):
        kd.train.EarlyStopping(metric="a.b", patience=1, min_delta=-0.1)
    with pytest.raises(ValueError, match="got 'test'"):
        kd.train.EarlyStopping(metric="test", patience=1)
    with pytest.raises(ValueError, match="'max' or 'min': got 'maximum'"):
        kd.train.EarlyStopping(metric="a.b", patience=1, mode="maximum")
