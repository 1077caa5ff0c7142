"""At which steps of a run each strategy evaluates."""

from __future__ import annotations

import pytest

from kauldron import kd

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
