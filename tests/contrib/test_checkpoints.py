"""Which steps stay."""

from __future__ import annotations

import datetime
import types

import numpy as np
import pytest

from kauldron import kd

C = kd.contrib.checkpoints


def _infos(steps, values=None):
    return [
        types.SimpleNamespace(
            step=step,
            time=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
            metrics=None if value is None else {"eval": {"accuracy": value}},
        )
        for step, value in zip(steps, values or [None] * len(steps), strict=True)
    ]


def _kept(policy, infos):
    chosen = policy.should_preserve(infos, context=None)
    return [info.step for info, keep in zip(infos, chosen, strict=True) if keep]


def test_steps_ever_further_apart_stay():
    steps = range(0, 1700, 50)
    assert _kept(C.ExpStep(), _infos(steps)) == [100, 200, 400, 800, 1600]
    of_three = C.ExpStep(interval=10, base=3)
    assert _kept(of_three, _infos(range(0, 300, 10))) == [10, 30, 90, 270]


def test_the_first_step_after_stays_where_the_exact_one_was_not_saved():
    assert _kept(C.ExpStep(), _infos([70, 140, 210, 280, 350, 420])) == [140, 210, 420]
    # What was kept is kept again when only those are left.
    assert _kept(C.ExpStep(), _infos([140, 210, 420])) == [140, 210, 420]


def test_exact_powers_are_not_missed_by_rounding():
    policy = C.ExpStep(interval=1, base=10)
    steps = [10**k for k in range(16)]
    assert _kept(policy, _infos(steps)) == steps
    just_below = [2**50 - 1, 2**50]  # the binary logarithm of both is 50 in f64
    powers_of_two = C.ExpStep(interval=1, base=2)
    assert _kept(powers_of_two, _infos(just_below)) == just_below


@pytest.mark.parametrize("kwargs", [{"interval": 0}, {"base": 1}])
def test_what_would_keep_nothing_is_refused(kwargs):
    with pytest.raises(ValueError, match="`interval >= 1` and `base > 1`"):
        C.ExpStep(**kwargs)


VALUES = [0.1, 0.5, None, float("nan"), 0.5, 0.3]


def test_the_best_steps_stay():
    infos = _infos([1, 2, 3, 4, 5, 6], VALUES)
    assert _kept(C.keep_best_n("eval.accuracy", 2), infos) == [2, 5]
    assert _kept(C.keep_best_n("eval.accuracy", 1), infos) == [
        2
    ]  # of equals, the first
    assert _kept(C.keep_best_n("eval.accuracy", 9), infos) == [1, 2, 5, 6]
    assert _kept(C.keep_best_n("eval.accuracy", 2, mode="min"), infos) == [1, 6]
    unmeasured = C.keep_best_n(
        "eval.accuracy", 1, mode="min", keep_checkpoints_without_metrics=True
    )
    assert _kept(unmeasured, infos) == [1, 3, 4]
    with pytest.raises(ValueError, match="at least 1"):
        C.keep_best_n("eval.accuracy", 0)


def test_policies_are_combined():
    policy = C.keep_exp_step_and_best_n("eval.accuracy", 1, interval=2, base=2)
    infos = _infos([1, 2, 3, 4, 5, 6], [0.1, 0.2, 0.9, 0.3, 0.4, 0.5])
    assert _kept(policy, infos) == [2, 3, 4]


def test_a_checkpointer_deletes_what_a_policy_does_not_keep(tmp_path):
    checkpointer = kd.ckpts.Checkpointer(
        workdir=tmp_path,
        save_interval_steps=1,
        preservation_policy=C.keep_exp_step_and_best_n(
            "eval.accuracy", 1, interval=2, base=2
        ),
    )
    with checkpointer:
        for step, value in enumerate([0.1, 0.2, 0.3, 0.9, 0.3, 0.2, 0.1]):
            checkpointer.save(
                {"x": np.float32(step)},
                step=step,
                metrics={"eval": {"accuracy": value}},
            )
            checkpointer.wait_until_finished()
        assert list(checkpointer.all_steps) == [2, 3, 4, 6]  # 6: the newest
