"""Evaluators of contrib: that continue, that train."""

from __future__ import annotations

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from kauldron import kd, konfig
from tests.train import small_run

E = kd.contrib.evals


class _PowerCut(Exception):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Interrupted(E.CheckpointedEvaluator):
    """Notes which batches it measures, and stops before one of them."""

    measured: list
    stop_at: int = -1

    def step(self, step_nr, state, batch):
        if step_nr == self.stop_at:
            raise _PowerCut
        self.measured.append(step_nr)
        return super().step(step_nr, state, batch)


def _make(workdir, *, measured, stop_at=-1, **changes):
    evaluator = _Interrupted(
        run=kd.evals.Once(0),
        checkpointer=kd.ckpts.Checkpointer(
            workdir=workdir / "saved", save_interval_steps=2
        ),
        measured=measured,
        stop_at=stop_at,
        **changes,
    )
    return small_run.make_trainer(
        workdir,
        eval_ds=small_run.make_ds(
            training=False, batch_size=6
        ),  # 7 batches, the last 4
        evals={"long": evaluator, "plain": kd.evals.Evaluator(run=kd.evals.Once(0))},
        train_metrics={
            "accuracy": kd.metrics.Accuracy(
                logits="preds.logits", labels="batch.label"
            ),
            "auc": kd.metrics.RocAuc(logits="preds.logits", labels="batch.label"),
            "noise": kd.metrics.Std(values="preds.logits"),
        },
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Workdir, state, and the values of an evaluation that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("run")
    trainer = _make(workdir, measured=[])
    state = trainer.init_state()
    return workdir, state, trainer.evals["plain"].evaluate(state, 9).compute()


def _assert_same(values, expected):
    for kind in ("loss_values", "metric_values"):
        ours, theirs = getattr(values, kind), getattr(expected, kind)
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_an_interrupted_evaluation_continues_and_gives_the_same_values(run):
    workdir, state, expected = run
    measured: list[int] = []
    with pytest.raises(_PowerCut):
        _make(workdir, measured=measured, stop_at=5).evals["long"].evaluate(state, 3)
    assert measured == [0, 1, 2, 3, 4]
    assert (workdir / "saved" / "step_3" / "checkpoints").is_dir()
    measured.clear()
    evaluator = _make(workdir, measured=measured).evals["long"]
    _assert_same(evaluator.evaluate(state, 3).compute(), expected)
    assert measured == [4, 5, 6]  # four batches were saved
    assert [p.name for p in (workdir / "saved").iterdir()] == ["step_3_done"]
    assert evaluator.evaluate(state, 3) is None
    assert measured == [4, 5, 6]


def test_without_interruption_it_is_an_evaluator(run):
    workdir, state, expected = run
    evaluator = _make(workdir, measured=[]).evals["long"]
    _assert_same(evaluator.evaluate(state, 4).compute(), expected)
    (line,) = (x for x in small_run.records(workdir, "long") if x["step"] == 4)
    assert line["metrics/accuracy"] == expected.metric_values["metrics/accuracy"]


def test_the_number_of_batches_is_kept_across_an_interruption(run):
    workdir, state, _ = run
    measured: list[int] = []
    with pytest.raises(_PowerCut):
        evaluator = _make(workdir, measured=measured, stop_at=3, num_batches=4)
        evaluator.evals["long"].evaluate(state, 5)
    _make(workdir, measured=measured, num_batches=4).evals["long"].evaluate(state, 5)
    assert measured == [0, 1, 2, 2, 3]


def test_what_was_measured_otherwise_is_not_continued(run):
    workdir, state, _ = run
    with pytest.raises(_PowerCut):
        _make(workdir, measured=[], stop_at=3).evals["long"].evaluate(state, 6)
    trainer = _make(workdir, measured=[], metrics={})
    with pytest.raises(ValueError, match="measures something else"):
        trainer.evals["long"].evaluate(state, 6)


def test_what_cannot_be_continued_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither `cache` nor `outputs`"):
        _make(tmp_path, measured=[], cache=True, num_batches=2)


class Trunk(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"logits": nn.Dense(2)(nn.Dense(5, name="features")(x))}


def _readout_config(**changes):
    with konfig.imports():
        import optax as lazy_optax
        from flax import linen as lazy_nn

        from kauldron import kd as lazy_kd
        from tests.contrib import test_evals
        from tests.train import small_run as lazy_run
    logits, labels = "preds.readouts.head", "batch.label"
    cfg = lazy_kd.train.Trainer(
        seed=1,
        train_ds=lazy_run.make_ds(),
        eval_ds=lazy_run.make_ds(training=False),
        model=lazy_kd.contrib.nn.ReadoutWrapper(
            model=test_evals.Trunk(),
            readout_heads={"head": lazy_nn.Dense(2)},
            readout_inputs={"head": "interms.features.__call__[0]"},
        ),
        num_train_steps=1,
        train_losses={
            "xentropy": lazy_kd.losses.SoftmaxCrossEntropyWithIntLabels(
                logits=logits, labels=labels
            )
        },
        train_metrics={
            "accuracy": lazy_kd.metrics.Accuracy(logits=logits, labels=labels)
        },
        optimizer=lazy_optax.adam(1e-1),
        evals={"test": lazy_kd.evals.Evaluator(run=lazy_kd.evals.Once(0))},
    )
    for path, value in changes.items():
        cfg[path] = value
    return cfg


def _evaluator(**changes):
    kwargs = {
        "run": kd.evals.Once(2),
        "readout_config": _readout_config(),
        "stop_after_steps_schedule_fn": E.constant_stop_after_steps(40),
    }
    return E.TrainEvaluator(**{**kwargs, **changes})


def test_a_readout_is_trained_on_the_current_parameters(tmp_path):
    cfg = _readout_config()
    trainer = small_run.make_trainer(
        tmp_path,
        model=Trunk(),
        num_train_steps=3,
        optimizer=optax.sgd(0.01),
        evals={"readout": _evaluator(readout_config=cfg)},
    )
    state, _ = trainer.train()
    assert not any(x.is_deleted() for x in jax.tree.leaves(state.params))
    (line,) = small_run.records(tmp_path, "readout_test")
    assert line["step"] == 2
    # Separable points, and a linear head on a linear layer of full rank.
    assert line["metrics/accuracy"] > 0.9
    assert cfg.num_train_steps == 1 and "checkpointer" not in cfg  # as it was given
    assert not small_run.records(tmp_path, "readout_train")


def test_the_parameters_of_the_run_are_those_that_are_judged(tmp_path):
    evaluator = _evaluator(stop_after_steps_schedule_fn=E.constant_stop_after_steps(60))
    trainer = small_run.make_trainer(
        tmp_path, model=Trunk(), evals={"readout": evaluator}
    )
    state = trainer.init_state()
    good = trainer.evals["readout"].evaluate(state, 1).compute().metric_values
    blind = dataclasses.replace(state, params=jax.tree.map(np.zeros_like, state.params))
    bad = trainer.evals["readout"].evaluate(blind, 2).compute().metric_values
    assert good["metrics/accuracy"] > 0.9 > 0.7 > bad["metrics/accuracy"]


def test_overrides_and_paths_reach_the_readout(tmp_path):
    def evaluate(**changes):
        trainer = small_run.make_trainer(
            tmp_path, model=Trunk(), evals={"readout": _evaluator(**changes)}
        )
        return trainer.evals["readout"].evaluate(trainer.init_state(), 1)

    with pytest.raises(ValueError, match=r"no 'modle'.*Did you mean 'model'"):
        evaluate(submodule_to_swap_path="modle.model")
    with pytest.raises(ValueError, match="are not those of this run's model"):
        evaluate(subparams_to_swap_path="model.features")
    with pytest.raises(ValueError, match="nothing would be reported"):
        evaluate(overrides={"evals": {}})
    with pytest.raises(TypeError, match="a config that is not resolved"):
        evaluate(readout_config=3)
    evaluate(
        overrides={"train_metrics": {}},
        readout_inputs={"head": "preds.logits"},
        stop_after_steps_schedule_fn=E.constant_stop_after_steps(1),
    )


def test_a_readout_in_a_config_from_elsewhere_is_not_trusted_either(tmp_path):
    readout = {
        "__qualname__": "kauldron.kd:train.Trainer",
        "train_ds": None,
        "optimizer": None,
        "model": {"__qualname__": "os:system", "0": f"touch {tmp_path}/executed"},
    }
    evaluator = {
        "__qualname__": "kauldron.kd:contrib.evals.TrainEvaluator",
        "run": {"__qualname__": "kauldron.kd:evals.Once", "0": 0},
        "readout_config": readout,
    }
    (tmp_path / "config.json").write_text(json.dumps(evaluator))
    loaded = konfig.resolve(konfig.load(tmp_path / "config.json"))
    trainer = small_run.make_trainer(tmp_path, model=Trunk(), evals={"r": loaded})
    with pytest.raises(konfig.UntrustedError, match="'os' is not on the list"):
        trainer.evals["r"].evaluate(trainer.init_state(), 0)
    assert not (tmp_path / "executed").exists()


def test_the_length_of_a_readout_depends_on_the_step():
    schedule = E.piecewise_stop_after_steps(10, {100: 20, 1000: 5})
    assert [schedule(s) for s in (0, 99, 100, 999, 1000, 9999)] == [
        10,
        10,
        20,
        20,
        5,
        5,
    ]
    assert E.constant_stop_after_steps(7)(123) == 7
    with pytest.raises(ValueError, match="at least 1"):
        E.constant_stop_after_steps(0)
