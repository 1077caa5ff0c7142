"""Evaluators: every example counts once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json

import flax.linen as nn
import flax.struct
import jax
import numpy as np
import pytest
from jax.experimental import checkify

from kauldron import kd, metrics
from tests.train import small_run


def _evaluate(tmp_path, batch_size, **changes):
    ds = small_run.make_ds(training=False, batch_size=batch_size)
    evaluator = kd.evals.Evaluator(run=kd.evals.Final(), ds=ds, **changes)
    trainer = small_run.make_trainer(tmp_path, evals={"test": evaluator})
    trainer.setup.run(trainer)
    state = trainer.init_state()
    aux = trainer.evals.test.evaluate(state, step=0)
    return trainer, state, aux.compute()


def _accuracy_by_hand(trainer, state):
    source = small_run.Points()
    with kd.nn.set_train_property(False):
        logits = trainer.model.apply({"params": state.params}, source.x)["logits"]
    labels = (source.x[:, 0] > 0).astype(int)
    return np.mean(np.argmax(logits, -1) == labels)


# 40 examples: batches that divide, that leave a rest, that divide over 8 devices or not,
# and one that is larger than the dataset.
@pytest.mark.parametrize("batch_size", [1, 7, 8, 16, 40, 64])
def test_every_example_counts_once_for_any_batch_size(tmp_path, batch_size):
    trainer, state, values = _evaluate(tmp_path, batch_size)
    expected = _accuracy_by_hand(trainer, state)
    np.testing.assert_allclose(
        values.metric_values["metrics/accuracy"], expected, rtol=1e-6
    )


def test_num_batches_limits_the_evaluation(tmp_path):
    trainer, state, values = _evaluate(tmp_path, 10, num_batches=1)
    source = small_run.Points()
    with kd.nn.set_train_property(False):
        logits = trainer.model.apply({"params": state.params}, source.x[:10])["logits"]
    expected = np.mean(np.argmax(logits, -1) == (source.x[:10, 0] > 0))
    np.testing.assert_allclose(
        values.metric_values["metrics/accuracy"], expected, rtol=1e-6
    )


def test_empty_dicts_switch_measurements_off(tmp_path):
    _, _, values = _evaluate(tmp_path, 10, metrics={})
    assert values.metric_values == {}
    assert set(values.loss_values) == {"losses/xentropy", "losses/total"}


def test_checkify_error_in_an_evaluation_is_raised_as_the_trainer_asks(tmp_path):
    class Checked(kd.losses.L2):
        def get_values(self, preds, targets):
            checkify.check(preds.sum() > 1e9, "too small")
            return super().get_values(preds, targets)

    checked = {"l2": Checked(preds="batch.x", targets="batch.x")}
    run = kd.evals.Final()
    trainer = small_run.make_trainer(
        tmp_path,
        checkify_error_categories=checkify.user_checks,
        evals={
            "test": kd.evals.Evaluator(run=run, losses=checked),
            "off": kd.evals.Evaluator(run=run, checkify_error_categories=frozenset()),
        },
    )
    trainer.setup.run(trainer)
    state = trainer.init_state()
    trainer.evals.off.evaluate(state, step=0)
    with pytest.raises(checkify.JaxRuntimeError, match="too small"):
        trainer.evals.test.evaluate(state, step=0)


class _Noise(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        nn.Dense(1)(x)
        noise = jax.random.normal(self.make_rng("noise"), (len(x), 1))
        return {"noise": noise}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Noises(metrics.Metric):
    noise: kd.kontext.Key = "preds.noise"

    @flax.struct.dataclass
    class State(metrics.CollectingState):
        noise: jax.Array

    def get_state(self, noise):
        return self.State(noise=noise)


@pytest.mark.parametrize(
    "again",
    [
        contextlib.nullcontext,
        jax.disable_jit,
        functools.partial(jax.transfer_guard, "disallow"),
    ],
)
def test_each_batch_of_an_evaluation_has_its_own_random_numbers_every_time_the_same(
    tmp_path, again
):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.Final(),
        ds=small_run.make_ds(training=False, batch_size=8),
        losses={},
        metrics={},
        summaries={"noise": _Noises()},
        writer=kd.train.metric_writer.NoopWriter(),
    )
    trainer = small_run.make_trainer(
        tmp_path,
        model=_Noise(),
        rng_streams=kd.train.RngStreams([kd.train.RngStream("noise", eval=True)]),
        evals={"test": evaluator},
    )
    state = trainer.init_state()

    def evaluate(step):
        merged = trainer.evals["test"].evaluate(state, step)
        return merged.finalize().summary_states["noise"]

    first = evaluate(step=0)
    with again():
        second = evaluate(step=5)
    noise = first.compute().noise.ravel()
    assert len(set(noise.tolist())) == len(noise) == small_run.NUM_EXAMPLES
    np.testing.assert_array_equal(second.compute().noise.ravel(), noise)


def test_cached_batches_give_the_same_result(tmp_path):
    cached = _evaluate(tmp_path, 10, num_batches=2, cache=True)[2]
    fresh = _evaluate(tmp_path, 10, num_batches=2)[2]
    assert cached.metric_values == fresh.metric_values


def test_results_are_written_under_the_name_of_the_evaluator(tmp_path):
    _evaluate(tmp_path, 10)
    [line] = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["collection"] == "test"
    assert (tmp_path / "test").is_dir()


def test_initial_transform_changes_the_evaluated_state_only(tmp_path):
    class Zero(kd.ckpts.InitTransform):
        def transform(self, state):
            return state.replace(params=jax.tree.map(lambda x: 0 * x, state.params))

    _, state, values = _evaluate(tmp_path, 10, init_transform=Zero())
    np.testing.assert_allclose(values.loss_values["losses/total"], np.log(2), rtol=1e-6)
    assert any(np.any(x != 0) for x in jax.tree.leaves(state.params))


def test_endless_dataset_without_num_batches_is_refused(tmp_path):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.EveryNSteps(5), ds=small_run.make_ds(num_epochs=None)
    )
    trainer = small_run.make_trainer(tmp_path, evals={"eval": evaluator})
    with pytest.raises(ValueError, match="never ends") as e:
        trainer.train()
    assert "In `cfg.evals['eval']` at step 0." in e.value.__notes__


@pytest.mark.parametrize(
    ("evals", "error", "message"),
    [
        ({"train": "ok"}, ValueError, "cannot be called 'train'"),
        ({"a b": "ok"}, ValueError, "'a b'"),
        ({"a": 3}, TypeError, r"`evals\['a'\]` must be an evaluator"),
        ([1], TypeError, "must map names"),
    ],
)
def test_bad_evaluators_are_refused(tmp_path, evals, error, message):
    if isinstance(evals, dict):
        ok = kd.evals.Evaluator(run=kd.evals.Once(0))
        evals = {k: ok if v == "ok" else v for k, v in evals.items()}
    with pytest.raises(error, match=message):
        small_run.make_trainer(tmp_path, evals=evals)


def test_evaluator_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"set `cfg\.eval_ds`"):
        small_run.make_trainer(
            tmp_path,
            eval_ds=None,
            evals={"eval": kd.evals.Evaluator(run=kd.evals.Once(0))},
        )


def test_evaluator_needs_a_strategy():
    with pytest.raises(TypeError, match="`run` must say when to evaluate"):
        kd.evals.Evaluator(run=None)


def test_interval_must_be_positive():
    with pytest.raises(ValueError, match="at least 1: got 0"):
        kd.evals.EveryNSteps(0)
