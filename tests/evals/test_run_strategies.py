"""At which steps of a run each strategy evaluates."""

from __future__ import annotations

import pytest

from kauldron import kd
from tests.train import small_run

LAST = 7


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (kd.evals.EveryNSteps(1), [0, 1, 2, 3, 4, 5, 6, 7]),
        # The last step is none of its own: `Final` is there for it.
        (kd.evals.EveryNSteps(3), [0, 3, 6]),
        (kd.evals.EveryNSteps(3, skip_first=True), [3, 6]),
        (kd.evals.EveryNSteps(8), [0]),
        (kd.evals.EveryNSteps(8, skip_first=True), []),
        (kd.evals.Once(0), [0]),
        (kd.evals.Once(4), [4]),
        (kd.evals.Once(LAST), [LAST]),
        (kd.evals.Once(LAST + 1), []),
        (kd.evals.Final(), [LAST]),
    ],
)
def test_steps_at_which_an_evaluator_runs(strategy, expected):
    found = [
        step
        for step in range(LAST + 1)
        if strategy.should_eval_in_train(step, is_last=step == LAST)
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("run", "changes", "told"),
    [
        (kd.evals.EveryNSteps(5), {}, "runs at step 0 alone"),
        (kd.evals.EveryNSteps(5, skip_first=True), {}, "never runs"),
        (kd.evals.Once(5), {}, "never runs"),
        (kd.evals.Once(5), {"num_train_steps": 5}, None),
        (kd.evals.Once(0), {}, None),
        (kd.evals.EveryNSteps(4, skip_first=True), {}, None),
        (kd.evals.EveryNSteps(4), {"stop_after_steps": 1}, None),  # for a look at it
        (kd.evals.EveryNSteps(5), {"num_train_steps": 0}, None),
        (kd.evals.Final(), {}, None),
        (kd.evals.StandaloneLastCheckpoint(), {}, None),
    ],
)
def test_an_evaluator_that_sees_nothing_trained_is_told_before_training(
    tmp_path, capsys, run, changes, told
):
    evals = {"test": kd.evals.Evaluator(run=run)}
    small_run.make_trainer(
        tmp_path, evals=evals, **{"num_train_steps": 4, **changes}
    ).check()
    err = capsys.readouterr().err
    assert err.count("Warning") == (told is not None)
    if told is not None:
        assert f"`cfg.evals['test']` {told}: its `run` is `{run!r}`, and the run" in err
        assert "has 4 steps." in err and "`kd.evals.Final()`" in err
