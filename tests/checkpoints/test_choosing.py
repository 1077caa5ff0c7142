"""Which step is meant: by its number, as the latest, or as the best."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.sharding import TrainState
from kauldron.workdir import ranking
from tests.train import small_run

_NAN, _INF = float("nan"), float("inf")


def _save(workdir, losses, **changes):
    kwargs = {"save_interval_steps": 1, "max_to_keep": None, **changes}
    with kd.ckpts.Checkpointer(workdir=workdir, **kwargs) as checkpointer:
        for step, loss in losses.items():
            metrics = {} if loss is None else {"test": {"loss": loss}}
            state = TrainState(step=jnp.int32(step), params={"w": jnp.full(2, step)})
            checkpointer.save(state, step=step, metrics=metrics)
    return checkpointer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Steps 1 to 6: the least loss at 3 and at 4, NaN at 5, nothing at 6."""
    workdir = tmp_path_factory.mktemp("run")
    _save(workdir, {1: 0.5, 2: 0.9, 3: 0.2, 4: 0.2, 5: _NAN, 6: None})
    config = {"best_metric_path": "test.loss", "best_mode": "min"}
    (workdir / "config.json").write_text(json.dumps({"checkpointer": config}))
    return workdir


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (-1, -1),
        ("-1", -1),
        (None, -1),
        ("latest", -1),
        (3, 3),
        ("3", 3),
        (0, 0),
        ("best", 3),
    ],
)
def test_step_is_a_number_or_the_latest_or_the_best(run, step, expected):
    assert kd.ckpts.resolve_step(run, step) == expected


@pytest.mark.parametrize(
    ("mode", "max_to_keep", "expected"), [("min", None, 3), ("max", None, 2)]
)
def test_checkpointer_says_what_is_best(run, mode, max_to_keep, expected):
    checkpointer = kd.ckpts.Checkpointer(
        workdir=run,
        save_interval_steps=1,
        best_metric_path="test['loss']",
        best_mode=mode,
        max_to_keep=max_to_keep,
    )
    assert checkpointer.best_step == expected
    resolved = kd.ckpts.resolve_step(run, "best", checkpointer=checkpointer)
    assert resolved == expected  # its own config says 'min'


@pytest.mark.parametrize("bad", ["besst", "1.5", "-2", -7, ""])
def test_what_is_no_step_is_refused(run, bad):
    with pytest.raises(
        kd.ckpts.CheckpointError, match="a number, 'latest' or 'best': got"
    ) as e:
        kd.ckpts.resolve_step(run, bad)
    assert ("Did you mean 'best'?" in str(e.value)) == (bad == "besst")


def test_best_without_a_metric_or_without_a_number_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        kd.ckpts.resolve_step(tmp_path, "best")
    checkpointer = _save(tmp_path, {1: None, 2: _NAN}, best_metric_path="test.loss")
    assert checkpointer.best_step is None
    with pytest.raises(
        kd.ckpts.CheckpointError, match=r"set `cfg\.checkpointer\.best_m"
    ):
        kd.ckpts.resolve_step(tmp_path, "best")
    with pytest.raises(
        kd.ckpts.CheckpointError, match=r"number for 'test\.loss'.*1, 2"
    ):
        kd.ckpts.resolve_step(tmp_path, "best", checkpointer=checkpointer)


def test_arrays_of_the_best_step(run):
    assert kd.ckpts.load_arrays(run, "best")["params.w"].tolist() == [3, 3]
    assert kd.ckpts.load_arrays(run, "latest")["params.w"].tolist() == [6, 6]
    state = TrainState(step=0, params={"w": jnp.zeros(2, jnp.int32)})
    for loader in (kd.ckpts.SimpleCheckpointLoader, kd.ckpts.PartialKauldronLoader):
        loaded = loader(run, step="best").transform(state)
        np.testing.assert_array_equal(loaded.params["w"], [3, 3])


def test_best_step_is_evaluated_and_predicts(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=2,
        evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(1))},
        checkpointer=kd.ckpts.Checkpointer(
            save_interval_steps=1, best_metric_path="eval.total", best_mode="max"
        ),
    )
    trainer.train()
    losses = {r["step"]: r["losses/total"] for r in small_run.records(tmp_path, "eval")}
    best = max(losses, key=losses.__getitem__)
    assert trainer.checkpointer.best_step == best
    step, outputs = kd.evals.evaluate_checkpoint(trainer, step="best", writes=False)
    assert step == best
    np.testing.assert_allclose(
        outputs["eval"].loss_values["losses/total"], losses[best], rtol=1e-6
    )
    assert kd.evals.Predictor.from_trainer(trainer, step="best").step == best
    assert kd.evals.Predictor.from_trainer(trainer, step="latest").step == 2


@pytest.mark.parametrize(
    ("value", "than", "is_better"),
    [
        (1.0, 0.0, True),
        (0.0, 1.0, False),
        (1.0, 1.0, False),
        (1.0, None, True),
        (_NAN, None, False),
        (_NAN, 0.0, False),
        (0.0, _NAN, True),
        (None, None, False),
        (_INF, _INF, False),
        (_INF, 1.0, True),
        (-_INF, None, True),
        (-_INF, -_INF, False),
    ],
)
def test_better_is_strictly_better(value, than, is_better):
    negative = [None if x is None else -x for x in (value, than)]
    assert kd.ckpts.is_better(value, than, "max") == is_better
    assert kd.ckpts.is_better(*negative, "min") == is_better


def test_a_gain_of_exactly_the_least_change_is_none():
    assert not kd.ckpts.is_better(0.75, 0.5, "max", min_delta=0.25)
    assert kd.ckpts.is_better(0.75, 0.5, "max", min_delta=0.2499)
    assert not kd.ckpts.is_better(0.5, 0.75, "min", min_delta=0.25)


def test_ranking_is_by_value_then_by_step_and_no_number_is_last():
    values = {0: 1.0, 1: _NAN, 2: 3.0, 3: None, 4: 3.0, 5: -_INF, 6: 1.0}
    assert ranking.ranked(values, "max") == [2, 4, 0, 6, 5, 3, 1]
    assert ranking.ranked(values, "min") == [5, 0, 6, 2, 4, 3, 1]
    assert kd.ckpts.best_step(values, "max") == 2
    assert kd.ckpts.best_step({0: _NAN, 1: None}, "max") is None
    assert kd.ckpts.best_step({}, "min") is None
