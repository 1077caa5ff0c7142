"""The loop: N means N updates, step i is the state after i of them."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, konfig
from kauldron.workdir import lock
from tests.evals import predict_config
from tests.train import small_run


def _records(workdir, collection, file="metrics.jsonl"):
    lines = (pathlib.Path(workdir) / file).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [r for r in records if r["collection"] == collection]


def test_n_steps_are_the_n_updates_of_a_hand_written_loop(tmp_path):
    trainer = small_run.make_trainer(tmp_path, num_train_steps=7)
    state, _ = trainer.train()

    # The same maths in plain Flax and optax.
    model, optimizer = trainer.model, optax.adam(1e-2)
    expected = trainer.init_state()
    params, opt_state = expected.params, optimizer.init(expected.params)
    batches = iter(trainer.train_ds)
    update = jax.jit(optimizer.update)

    def loss_fn(params, batch, step):
        with kd.nn.set_train_property(True):
            preds = model.apply(
                {"params": params},
                batch["x"],
                rngs=trainer.rng_streams.train_rngs(step),
            )
        return optax.softmax_cross_entropy_with_integer_labels(
            preds["logits"], batch["label"][:, 0]
        ).mean()

    grads_of = jax.jit(jax.grad(loss_fn))
    for step in range(7):
        grads = grads_of(params, next(batches), step)
        updates, opt_state = update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    batches.close()

    assert state.step == 7
    # Another fusion of the same operations: a few units in the last place.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
        state.params,
        params,
    )


def test_zero_steps_train_nothing_but_save_and_evaluate(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=0,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=5),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.Final())},
    )
    state, aux = trainer.train()
    assert state.step == 0
    assert aux is None
    assert trainer.checkpointer.all_steps == [0]
    assert [r["step"] for r in _records(tmp_path, "eval")] == [0]


def test_steps_that_are_logged_evaluated_and_saved(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=10,
        log_metrics_every=3,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4, max_to_keep=None),
        evals={
            "often": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5)),
            "later": kd.evals.Evaluator(run=kd.evals.EveryNSteps(4, skip_first=True)),
            "once": kd.evals.Evaluator(run=kd.evals.Once(3)),
            "final": kd.evals.Evaluator(run=kd.evals.Final()),
        },
    )
    trainer.train()
    steps = {
        name: [r["step"] for r in _records(tmp_path, name)]
        for name in ("train", "often", "later", "once", "final")
    }
    assert steps == {
        "train": [0, 3, 6, 9],
        "often": [0, 5, 10],
        "later": [4, 8],
        "once": [3],
        "final": [10],
    }
    assert list(trainer.checkpointer.all_steps) == [0, 4, 8, 10]


def test_metrics_and_summaries_are_logged_each_at_their_own_steps(tmp_path):
    logged = {}

    class Notes(kd.train.Hook):
        def on_log(self, run, *, step, values):
            logged[step] = {
                "losses": bool(values.loss_values),
                "metrics": bool(values.metric_values),
                "summaries": bool(values.summary_values),
            }

    small_run.make_trainer(
        tmp_path,
        num_train_steps=10,
        log_metrics_every=4,
        log_summaries_every=6,
        train_summaries={"x": kd.summaries.HistogramSummary(tensor="batch.x")},
        hooks={"notes": Notes()},
    ).train()
    # The loss of what is looked at is told, too.
    assert logged == {
        0: {"losses": True, "metrics": True, "summaries": True},
        4: {"losses": True, "metrics": True, "summaries": False},
        6: {"losses": True, "metrics": False, "summaries": True},
        8: {"losses": True, "metrics": True, "summaries": False},
    }


def test_no_batch_is_loaded_that_is_not_used(tmp_path):
    """Behind the last step there may be nothing, or hours of waiting for a stream."""
    num_loaded = 0

    def count(batch):
        nonlocal num_loaded
        num_loaded += 1
        return batch

    ds = _Counted(small_run.make_ds(), count)
    small_run.make_trainer(tmp_path, num_train_steps=3, train_ds=ds).train()
    assert num_loaded == 3


class _Counted(kd.data.IterableDataset):
    """A dataset whose batches are counted as they are loaded."""

    def __init__(self, ds, count):
        self._ds, self._count = ds, count
        self.element_spec = ds.element_spec

    element_spec = None
    is_endless = True

    def __iter__(self):
        return kd.data.iters.MappedIterator(self, iter(self._ds), self._count)


def test_evaluation_at_a_step_sees_the_state_after_that_many_updates(tmp_path):
    seen = {}

    class Spy(kd.evals.Evaluator):
        def evaluate(self, state, step):
            seen[step] = int(state.step)
            return super().evaluate(state, step)

    small_run.make_trainer(
        tmp_path, evals={"eval": Spy(run=kd.evals.EveryNSteps(5))}
    ).train()
    assert seen == {0: 0, 5: 5, 10: 10}


def test_logged_loss_is_of_the_parameters_before_the_update(tmp_path):
    trainer = small_run.make_trainer(tmp_path, num_train_steps=1)
    trainer.train()
    state = trainer.init_state()
    batches = iter(trainer.train_ds)
    context = kd.train.Context.from_state_and_batch(state=state, batch=next(batches))
    batches.close()
    forward = functools.partial(
        kd.train.forward_with_loss,
        model=trainer.model,
        losses=trainer.train_losses,
        rngs=trainer.rng_streams.train_rngs(0),
        is_training=True,
    )
    total, _ = jax.jit(forward)(context)
    [record] = _records(tmp_path, "train")
    np.testing.assert_allclose(record["losses/total"], total, rtol=1e-5)


def test_results_do_not_depend_on_how_often_is_logged_evaluated_or_saved(tmp_path):
    quiet = small_run.make_trainer(tmp_path / "a", log_metrics_every=1000)
    chatty = small_run.make_trainer(
        tmp_path / "b",
        log_metrics_every=1,
        log_summaries_every=1,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(1))},
    )
    hashes = [small_run.state_hash(t.train()[0].params) for t in (quiet, chatty)]
    assert hashes[0] == hashes[1]


def test_one_device_and_eight_agree(tmp_path):
    replicated = kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED)
    split = small_run.make_trainer(tmp_path / "a").train()[0]
    whole = small_run.make_trainer(tmp_path / "b", sharding=replicated).train()[0]
    # Sums over shards are added in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        split.params,
        whole.params,
    )


def test_second_call_of_each_step_does_not_compile(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5))}
    )
    trainer.train()
    # With and without measurements; an evaluation of 40 examples has batches of 16 and 8.
    assert trainer.trainstep._jitted_step._cache_size() == 2
    assert trainer.evals.eval._jitted_step._cache_size() == 2


def test_without_num_train_steps_the_dataset_decides(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, num_train_steps=None, train_ds=small_run.make_ds(num_epochs=3)
    )
    # 3 epochs of 40 examples, batches of 16.
    assert trainer.train()[0].step == 120 // 16


def test_a_dataset_that_is_too_short_is_reported_before_the_start(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, train_ds=small_run.make_ds(num_epochs=1), num_train_steps=10
    )
    with pytest.raises(ValueError, match="has only 2 batches"):
        trainer.train()


def test_run_without_an_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"set `cfg\.num_train_steps`"):
        small_run.make_trainer(tmp_path, num_train_steps=None).train()


def test_texts_in_the_batch_stay_on_the_host(tmp_path):
    class WithNames(small_run.Points):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "name": f"example {index}"}

    trainer = small_run.make_trainer(
        tmp_path,
        train_ds=small_run.make_ds(data_source=WithNames()),
        eval_ds=small_run.make_ds(training=False, data_source=WithNames()),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.Final())},
    )
    assert trainer.train()[0].step == 10


def test_stop_after_steps_stops_early(tmp_path):
    assert small_run.make_trainer(tmp_path, stop_after_steps=4).train()[0].step == 4


def test_continued_run_equals_the_uninterrupted_one(tmp_path):
    def make(workdir, **changes):
        return small_run.make_trainer(
            workdir,
            num_train_steps=23,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=5),
            evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(10))},
            **changes,
        )

    expected = make(tmp_path / "whole").train()[0]
    make(tmp_path / "parts", stop_after_steps=7).train()
    # At an evaluation: it is repeated, and its line is written once.
    make(tmp_path / "parts", stop_after_steps=10).train()
    state = make(tmp_path / "parts").train()[0]
    assert small_run.state_hash(state) == small_run.state_hash(expected)
    whole, parts = (tmp_path / d / "metrics.jsonl" for d in ("whole", "parts"))
    assert parts.read_text() == whole.read_text()


def test_finished_run_says_so_and_changes_nothing(tmp_path, capfd):
    def make():
        return small_run.make_trainer(
            tmp_path, checkpointer=kd.ckpts.Checkpointer(save_interval_steps=5)
        )

    first = make().train()[0]
    before = (tmp_path / "metrics.jsonl").read_text()
    capfd.readouterr()
    again, aux = make().train()
    assert "is at step 10" in capfd.readouterr().err
    assert aux is None
    assert small_run.state_hash(again) == small_run.state_hash(first)
    assert (tmp_path / "metrics.jsonl").read_text() == before


_PROGRAM = """
import sys
from tests.train import small_run
from kauldron import kd
trainer = small_run.make_trainer(
    sys.argv[1], num_train_steps=int(sys.argv[2]), log_metrics_every=1,
    checkpointer=kd.ckpts.Checkpointer(save_interval_steps=7),
)
state, _ = trainer.train()
print(small_run.state_hash(state))
"""


def _start(workdir, num_steps):
    root = pathlib.Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(workdir), str(num_steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def _wait_for_step(process, step):
    for line in process.stderr:
        if line.split("/")[0].split()[-1:] == [str(step)]:
            return
    raise AssertionError(f"the process ended before step {step}")


def test_killed_run_continues_bit_for_bit(tmp_path, capfd):
    def train(workdir):
        trainer = small_run.make_trainer(
            workdir,
            num_train_steps=60,
            log_metrics_every=1,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=7),
        )
        return small_run.state_hash(trainer.train()[0])

    # 40 examples in batches of 16 are 2 batches an epoch: step 17 is neither a save nor
    # an epoch boundary.
    killed = _start(tmp_path / "parts", 60)
    _wait_for_step(killed, 17)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "parts/checkpoints/ckpt_60").exists()
    expected = train(tmp_path / "whole")
    assert "Continuing" not in capfd.readouterr().err
    assert train(tmp_path / "parts") == expected
    assert "Continuing" in capfd.readouterr().err
    assert len(expected) == 64


def _assert_saved_and_told(workdir, name, message):
    assert f"Stopped by {name}" in message
    assert "start it again with the same workdir" in message
    [step] = re.findall(r"at step (\d+) of 100000", message)
    assert (workdir / "checkpoints" / f"ckpt_{step}").is_dir()


def test_signal_from_outside_saves_and_says_how_to_continue(tmp_path):
    process = _start(tmp_path, 100_000)
    _wait_for_step(process, 5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    _assert_saved_and_told(tmp_path, "SIGTERM", err)


class _Interrupts(kd.train.Hook):
    def after_step(self, run, *, step, state, aux):
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_and_says_how_to_continue(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=100_000,
        hooks={"interrupts": _Interrupts()},
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=7),
    )
    with pytest.raises(kd.train.TrainingInterrupted) as info:
        trainer.train()
    _assert_saved_and_told(tmp_path, "SIGINT", str(info.value))


def test_two_processes_on_one_workdir_are_refused(tmp_path):
    with (
        lock.owned(kd.train.trainer_lib.epath.Path(tmp_path)),
        pytest.raises(ValueError, match="Another process"),
    ):
        small_run.make_trainer(tmp_path).train()


def test_missing_workdir_is_reported():
    with pytest.raises(ValueError, match=r"--cfg\.workdir=runs/my_run"):
        small_run.make_trainer(None).train()


def test_workdir_that_cannot_be_written_is_reported(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="file' is a file, not a folder"):
        small_run.make_trainer(file / "run").train()


class _Transfers(kd.train.Hook):
    def after_step(self, run, *, step, state, aux):
        jnp.add(state.step, np.int32(1))  # sends a number to the devices


def test_hidden_transfer_in_the_loop_is_an_error(tmp_path):
    trainer = small_run.make_trainer(tmp_path, hooks={"bad": _Transfers()})
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device"):
        trainer.train()


def test_a_run_line_by_line_makes_the_same_updates(tmp_path):
    changes = {"num_train_steps": 1, "train_metrics": {}, "optimizer": optax.sgd(0.1)}
    with jax.disable_jit():
        state, _ = small_run.make_trainer(tmp_path / "by_line", **changes).train()
    expected, _ = small_run.make_trainer(tmp_path / "compiled", **changes).train()
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        state.params,
        expected.params,
    )


def test_line_by_line_the_model_runs_in_the_thread_that_trains(tmp_path, capfd):
    names = []

    class _Called(nn.Module):
        def __call__(self, x):
            names.append(threading.current_thread().name)
            return x

    model = kd.nn.Sequential(
        inputs="batch.x", outputs="logits", layers=[_Called(), nn.Dense(2)]
    )
    with jax.disable_jit():
        small_run.make_trainer(tmp_path, model=model, num_train_steps=1).train()
    assert set(names) == {threading.current_thread().name}
    assert "Compiled" not in capfd.readouterr().err


def test_continuing_with_another_config_says_what_has_changed(tmp_path, capfd):
    np.savez(
        tmp_path / "points.npz",
        pixels=np.zeros((32, 2, 2, 1), np.uint8),
        label=np.zeros(32, np.int64),
    )
    cfg = predict_config.get_config(str(tmp_path / "points.npz"))
    cfg.workdir = str(tmp_path / "run")
    cfg.evals, cfg.num_train_steps = {}, 1
    konfig.resolve(cfg).train()
    assert "has changed" not in capfd.readouterr().err
    cfg.num_train_steps = 2
    konfig.resolve(cfg).train()
    told = capfd.readouterr().err
    assert f"The config of {tmp_path / 'run'} has changed" in told
    assert "num_train_steps: 1 -> 2" in told.replace("cfg.", "")
    assert "Lengths, intervals, evaluators and schedules may change." in told
    assert "Data, model and optimizer should not" in told


def test_a_writer_that_fails_is_reported_once_and_training_goes_on(tmp_path, capfd):
    class Broken(kd.train.KDMetricWriter):
        def write_scalars(self, step, scalars):
            raise OSError("the disk is gone")

    state, _ = small_run.make_trainer(tmp_path, writer=Broken()).train()
    assert state.step == 10
    assert capfd.readouterr().err.count("Warning") == 1
