"""The best checkpoints stay: by the value at the step that is saved."""

from __future__ import annotations

import dataclasses
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
