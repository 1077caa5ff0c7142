"""The best checkpoints stay: by the value at the step that is saved."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping

import numpy as np
import pytest

from kauldron import kd, metrics
from kauldron.train import auxiliaries
from tests.train import small_run

NAN = float("nan")
SCORES = {0: NAN, 4: 0.2, 8: 0.3}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scripted(kd.evals.EvaluatorBase):
    """Says at each step what it was told to say."""

    scores: Mapping[int, float] = dataclasses.field(default_factory=lambda: SCORES)

    def evaluate(self, state, step):
        score = np.float32([self.scores[step]])
        state = metrics.AverageState.from_values(score)
        return auxiliaries.AuxiliariesState(metric_states={"score": state})


def _train(tmp_path, *, path="test.score", best_mode="max", num_train_steps=10):
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=num_train_steps,
        evals={"test": Scripted(run=kd.evals.EveryNSteps(4))},
        checkpointer=kd.ckpts.Checkpointer(
            save_interval_steps=2,
            max_to_keep=1,
            best_metric_path=path,
            best_mode=best_mode,
        ),
    )
    trainer.train()
    return list(trainer.checkpointer.all_steps)


def test_the_best_step_stays_and_the_newest_from_which_training_goes_on(tmp_path):
    # Not a number at 0, and not measured at 2, 6 and 10: never the best.
    assert _train(tmp_path, best_mode="min") == [4, 10]
    assert _train(tmp_path, best_mode="min", num_train_steps=11) == [4, 11]


def test_a_metric_that_does_not_exist_is_found_at_the_first_save(tmp_path):
    with pytest.raises(
        kd.errors.UserError, match=r"test\.scor(?s:.*)Did you mean .test\.score."
    ):
        _train(tmp_path, path="test.scor")


def _check(tmp_path, path, **evals):
    trainer = small_run.make_trainer(
        tmp_path,
        evals=evals,
        checkpointer=kd.ckpts.Checkpointer(
            save_interval_steps=2, best_metric_path=path
        ),
    )
    trainer.check()


def test_a_metric_that_no_evaluator_has_is_found_before_training(tmp_path):
    test = kd.evals.Evaluator(run=kd.evals.EveryNSteps(2))
    with pytest.raises(ValueError, match=r"test\.acuracy.*(?s:.*)test\.accuracy"):
        _check(tmp_path, "test.acuracy", test=test)
    with pytest.raises(ValueError, match=r"tset\.accuracy.*(?s:.*)test"):
        _check(tmp_path, "tset.accuracy", test=test)
    _check(tmp_path, "test.accuracy", test=test)
    _check(tmp_path, "test.total", test=test)


def test_a_standalone_evaluator_cannot_choose_the_best(tmp_path):
    test = kd.evals.Evaluator(run=kd.evals.StandaloneEveryCheckpoint())
    with pytest.raises(ValueError, match="runs in a process of its own"):
        _check(tmp_path, "test.accuracy", test=test)


def test_a_hook_that_disagrees_about_what_is_better_is_found(tmp_path):
    def trainer(mode, path):
        return small_run.make_trainer(
            tmp_path,
            evals={"test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(2))},
            hooks={
                "stop": kd.train.EarlyStopping(
                    metric="test.total", patience=1, mode=mode
                )
            },
            checkpointer=kd.ckpts.Checkpointer(
                save_interval_steps=2, best_metric_path=path, best_mode="max"
            ),
        )

    with pytest.raises(
        kd.errors.UserError, match=r"cfg\.hooks\['stop'\]\.mode.*\n?.*'min', for the"
    ):
        trainer("min", "test['total']").check()
    trainer("max", "test.total").check()
    trainer("min", "test.accuracy").check()


# Steps 0, 2, 4, ...: the best value comes three times, at first at step 4.
_TIES = [0.1, 0.2, 0.7, 0.7, 0.3, 0.7, NAN, 0.2, 0.1]


def _tied_run(workdir, *, sign=1, hook=None, checkpointer=None, **changes):
    mode = "max" if sign == 1 else "min"
    scores = {2 * i: sign * score for i, score in enumerate(_TIES)}
    return small_run.make_trainer(
        workdir,
        evals={"test": Scripted(run=kd.evals.EveryNSteps(2), scores=scores)},
        hooks={
            "stop": kd.train.EarlyStopping(
                **{"metric": "test.score", "patience": 9, "mode": mode, **(hook or {})}
            )
        },
        checkpointer=kd.ckpts.Checkpointer(
            **{
                "save_interval_steps": 2,
                "max_to_keep": 1,
                "best_metric_path": "test.score",
                "best_mode": mode,
                **(checkpointer or {}),
            }
        ),
        **{"num_train_steps": 12, **changes},
    )


def _assert_best(trainer, step):
    """Everybody says so, and it is there."""
    checkpointer = trainer.checkpointer
    assert trainer.hooks["stop"].best_step == step
    assert checkpointer.best_step == step
    assert kd.ckpts.resolve_step(
        trainer.workdir, "best", checkpointer=checkpointer
    ) == (step)
    restored = checkpointer.restore(trainer.init_state(), step=step)
    assert int(restored.step) == step


@pytest.mark.parametrize("sign", [1, -1])
def test_of_equal_values_the_earliest_step_is_best_for_everybody(
    tmp_path, capsys, sign
):
    trainer = _tied_run(tmp_path, sign=sign)
    trainer.train()
    assert f"Best test.score: {sign * 0.7:.6g} at step 4." in capsys.readouterr().err
    _assert_best(trainer, 4)
    assert list(trainer.checkpointer.all_steps) == [4, 12]


def test_the_same_step_is_best_after_a_restart(tmp_path):
    for stop_after in (5, 8):
        _tied_run(tmp_path, stop_after_steps=stop_after).train()
    trainer = _tied_run(tmp_path)
    trainer.train()
    _assert_best(trainer, 4)


def test_the_best_step_stays_where_only_the_newest_are_kept(tmp_path):
    def make(**changes):
        keep = {"best_metric_path": None, "max_to_keep": 2}
        return _tied_run(tmp_path, checkpointer=keep, **changes)

    make(stop_after_steps=8).train()
    trainer = make()
    trainer.train()
    assert trainer.hooks["stop"].best_step == 4
    assert list(trainer.checkpointer.all_steps) == [4, 10, 12]


def test_what_is_announced_stays_if_the_checkpointer_knows_a_slightly_better_one(
    tmp_path, capsys
):
    trainer = _tied_run(tmp_path, hook={"min_delta": 0.65}, num_train_steps=8)
    trainer.train()
    assert "Best test.score: 0.1 at step 0." in capsys.readouterr().err
    assert trainer.hooks["stop"].best_step == 0  # 0.7 beats 0.1 by less
    assert trainer.checkpointer.best_step == 4
    assert list(trainer.checkpointer.all_steps) == [0, 4, 8]


class _Stop(kd.train.Hook):
    """Asks for an end by signal, as if from outside, once step 4 is reached."""

    def after_step(self, run, *, step, state, aux):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)


def test_a_step_that_is_saved_before_it_is_measured_can_be_the_best(tmp_path):
    interrupted = _tied_run(tmp_path)
    hooks = {**interrupted.hooks, "signal": _Stop()}
    with pytest.raises(KeyboardInterrupt):
        interrupted.replace(hooks=hooks).train()
    assert list(interrupted.checkpointer.all_steps)[-1] == 4
    assert kd.ckpts.find_damage(tmp_path, 4) == []
    trainer = _tied_run(tmp_path)
    trainer.train()
    _assert_best(trainer, 4)
    assert kd.ckpts.find_damage(tmp_path, 4) == []
