"""Metric-driven schedules: updates become smaller when evaluations stop getting better."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import optax
import pytest

from kauldron import kd
from tests import compilations
from tests.train import small_run
from tests.train.test_hooks import _make

_RATE = 0.5
# Better at 2, then twice not: smaller from step 6 on; and again from step 10 on.
_SCRIPT = [0.1, 0.5, 0.5, 0.4, 0.5, 0.5]


def _trainer(workdir, script=_SCRIPT, optimizer=None, **changes):
    hook = kd.train.ReduceOnPlateau(metric="test.score", patience=2, factor=0.25)
    kwargs = {
        "num_train_steps": 12,
        "optimizer": optimizer
        or optax.chain(optax.sgd(_RATE), kd.optim.plateau_scale()),
        "hooks": {"plateau": hook},
        "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=6, max_to_keep=9),
        **changes,
    }
    return _make(workdir, [*script, 0.5], **kwargs)


def _scale(state) -> float:
    return float(state.opt_state[1].scale)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody interrupts, and how often its step was compiled."""
    workdir = tmp_path_factory.mktemp("whole")
    trainer = _trainer(workdir)
    state, _ = trainer.train()
    return trainer, state


def test_updates_are_those_of_a_schedule_that_steps_down_at_the_plateaus(
    whole, tmp_path
):
    _, state = whole
    assert _scale(state) == pytest.approx(0.25**2)
    schedule = optax.piecewise_constant_schedule(_RATE, {6: 0.25, 10: 0.25})
    expected, _ = _trainer(tmp_path, optimizer=optax.sgd(schedule), hooks={}).train()
    # Products in another order: some units in the last place.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7),
        state.params,
        expected.params,
    )


def test_a_run_that_continues_after_a_plateau_gives_the_same_bits(whole, tmp_path):
    _, state = whole
    _trainer(tmp_path, num_train_steps=6).train()
    continued = _trainer(tmp_path)
    assert _scale(continued.checkpointer.restore(continued.init_state())) == 0.25
    again, _ = continued.train()
    assert small_run.state_hash(again) == small_run.state_hash(state)
    assert continued.hooks["plateau"].scale == 0.25**2


def test_nothing_is_compiled_again_when_updates_become_smaller(whole, tmp_path):
    before, _ = whole  # the same programs
    with compilations.counted() as with_plateaus:
        _trainer(tmp_path / "plateaus").train()
    with compilations.counted() as without:
        _trainer(tmp_path / "without", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).train()
    assert before.hooks["plateau"].scale < 1
    assert len(with_plateaus) <= len(without)


@pytest.mark.slow
def test_the_scale_does_not_fall_below_its_least(tmp_path):
    hook = kd.train.ReduceOnPlateau(
        metric="test.score", patience=1, factor=0.1, min_scale=0.05
    )
    state, _ = _trainer(tmp_path, [0.5] * 6, hooks={"plateau": hook}).train()
    assert _scale(state) == pytest.approx(0.05)
    assert hook.scale == 0.05


def test_an_optimizer_that_does_not_follow_is_told_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"kd\.optim\.plateau_scale\(\)"):
        _trainer(tmp_path, optimizer=optax.sgd(0.1)).train()
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "change", [{"factor": 1.0}, {"factor": 0.0}, {"min_scale": 1.5}, {"patience": 0}]
)
def test_impossible_values_are_refused(change):
    good = kd.train.ReduceOnPlateau(metric="test.score", patience=2)
    with pytest.raises(ValueError, match="`ReduceOnPlateau` needs"):
        dataclasses.replace(good, **change)
