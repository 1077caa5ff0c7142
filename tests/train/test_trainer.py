"""`Trainer`: binding of parts, checks before anything runs."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from kauldron import kd, konfig, kontext
from tests.train import small_run


def test_parts_take_what_they_need_from_the_trainer(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, evals={"test": kd.evals.Evaluator(run=kd.evals.Final())}
    )
    assert trainer.train_ds.seed == 3
    assert trainer.rng_streams.seed == 3
    assert trainer.trainstep.model is trainer.model
    assert trainer.trainstep.aux.losses is trainer.train_losses
    assert trainer.evals.test.ds is trainer.eval_ds
    assert trainer.evals.test.base_cfg is trainer
    assert trainer.evals.test.name == "test"
    assert trainer.writer.collection == "train"
    assert trainer.evals.test.writer.collection == "test"


def test_replacing_the_seed_changes_inherited_seeds_only(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, eval_ds=small_run.make_ds(training=False, seed=77)
    )
    changed = dataclasses.replace(trainer, seed=9)
    assert changed.train_ds.seed == 9
    assert changed.rng_streams.seed == 9
    assert changed.trainstep.rng_streams.seed == 9
    assert changed.eval_ds.seed == 77


def test_replaced_workdir_and_model_reach_every_part(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
        evals={"test": kd.evals.Evaluator(run=kd.evals.Final())},
    )
    model = trainer.model.clone(layers=trainer.model.layers[-1:])
    changed = trainer.replace(workdir=tmp_path / "other", model=model)
    for part in (changed.checkpointer, changed.writer, changed.evals.test.writer):
        assert part.workdir == tmp_path / "other"
    assert changed.evals.test.model is model
    assert changed.trainstep.model is model


def test_replacing_overwrites_no_value_that_the_user_has_set(tmp_path):
    theirs = tmp_path / "theirs"
    writer = kd.train.KDMetricWriter(workdir=theirs)
    trainer = small_run.make_trainer(
        tmp_path,
        writer=writer,
        checkpointer=kd.ckpts.Checkpointer(workdir=theirs, save_interval_steps=7),
        hooks={"stop": kd.train.EarlyStopping(metric="test.total", patience=4)},
        evals={
            "test": kd.evals.Evaluator(run=kd.evals.Final(), metrics={}),
            "own": kd.evals.Evaluator(
                run=kd.evals.Final(),
                ds=small_run.make_ds(training=False, seed=5),
                writer=kd.train.KDMetricWriter(workdir=tmp_path / "own"),
            ),
        },
    )
    model = trainer.model.clone(layers=trainer.model.layers[-1:])
    changed = dataclasses.replace(
        trainer, workdir=tmp_path / "new", seed=9, model=model, train_metrics={}
    )
    for run in (trainer, changed, dataclasses.replace(changed, seed=10)):
        assert run.writer.workdir == run.checkpointer.workdir == theirs
        assert run.checkpointer.save_interval_steps == 7
        assert run.hooks["stop"] == trainer.hooks["stop"]
        assert run.evals["test"].metrics == {}
        assert run.evals["own"].ds.seed == 5
        assert run.evals["own"].writer.workdir == tmp_path / "own"
        assert run.evals["own"].writer.collection == "own"
        assert run.evals["test"].writer.workdir == theirs  # follows the trainer's
        assert run.evals["own"].model is run.model


def test_flags_find_the_writer_that_a_config_does_not_name():
    with konfig.imports():
        from kauldron import kd as lazy_kd

    cfg = lazy_kd.train.Trainer()
    kontext.set_by_path(cfg, "writer.save_images", True)
    assert konfig.resolve(cfg.writer).save_images
    assert "writer" not in konfig.to_python(lazy_kd.train.Trainer())


_OPTIONAL_PARTS = (
    *("writer", "checkpointer", "init_transform", "evals", "hooks", "profiler"),
    *("nan_guard", "precision", "remat", "aux", "schedules"),
    *("train_metrics", "train_summaries", "eval_ds", "stop_after_steps"),
)


@pytest.mark.parametrize("part", _OPTIONAL_PARTS)
def test_none_switches_an_optional_part_off(tmp_path, part):
    trainer = small_run.make_trainer(tmp_path / "run", **{part: None})
    trainer.check()
    assert not (tmp_path / "run").exists()


def test_none_switches_parts_off(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, writer=None, checkpointer=None, init_transform=None, evals=None
    )
    state, _ = trainer.train()
    assert state.step == 10
    assert not (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_steps": -5}, "`num_train_steps` must be at least 0: got -5"),
        ({"log_metrics_every": 0}, "`log_metrics_every` must be at least 1: got 0"),
        ({"stop_after_steps": -1}, "`stop_after_steps` must be at least 0"),
        ({"seed": 10**20}, "`seed` must fit in 64 bits"),
        ({"train_ds": None}, "`train_ds` must be a data pipeline, .*: got NoneType"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        small_run.make_trainer(tmp_path, **changes)


def _loss(**keys):
    return {"recon": kd.losses.L2(**{"preds": "batch.x", "targets": "batch.x", **keys})}


@pytest.mark.parametrize(
    ("changes", "wrong", "nearest"),
    [
        ({"train_losses": _loss(preds="batch.xx")}, "batch.xx", "batch.x"),
        ({"train_losses": _loss(preds="pred.logits")}, "pred.logits", "preds.logits"),
        (
            {"train_metrics": {"n": kd.metrics.Norm(tensor="grads.layers_0.kernal")}},
            "kernal",
            "grads.layers_0.kernel",
        ),
        (
            {"train_summaries": {"n": kd.summaries.ShowImages(images="batch.y")}},
            "batch.y",
            "batch.x",
        ),
    ],
)
def test_key_that_does_not_exist_is_found_without_compiling(
    tmp_path, changes, wrong, nearest
):
    trainer = small_run.make_trainer(tmp_path, **changes)
    with pytest.raises(kd.errors.UserError) as e:
        trainer.check()
    assert wrong in str(e.value)
    assert nearest in str(e.value)
    assert trainer.trainstep._jitted_step._cache_size() == 0


def test_run_without_an_optimizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"set `cfg\.optimizer`"):
        small_run.make_trainer(tmp_path, optimizer=None).train()


def test_evaluation_may_have_batches_larger_than_its_dataset(tmp_path):
    small_run.make_trainer(
        tmp_path,
        eval_ds=small_run.make_ds(training=False, batch_size=1000),
        evals={"test": kd.evals.Evaluator(run=kd.evals.Final())},
    ).train()


def test_batch_that_does_not_divide_over_devices_is_refused_at_once(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        train_ds=small_run.make_ds(batch_size=13),
        evals={"eval": kd.evals.Evaluator(run=kd.evals.EveryNSteps(5))},
    )
    with pytest.raises(ValueError, match="batch_size=8 or 16"):
        trainer.train()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_run_without_losses_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no loss to train on"):
        small_run.make_trainer(tmp_path, train_losses={}).train()


def test_specs_match_the_real_state(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    state = trainer.init_state()
    jax.tree.map(
        lambda spec, x: (spec.shape, spec.dtype) == (x.shape, x.dtype) or pytest.fail(),
        trainer.state_specs,
        state,
    )
    assert jax.tree.structure(trainer.state_specs) == jax.tree.structure(state)


def test_initial_state_is_that_of_a_function_of_ones_own(tmp_path):
    """Compiled with the options of JAX, inside of another function, or not at all."""
    trainer = small_run.make_trainer(tmp_path)
    state = trainer.init_state()
    jax.tree.map(np.testing.assert_array_equal, state, jax.jit(trainer.init_state)())
    specs = jax.eval_shape(trainer.init_state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), specs
    )


def test_parts_compared_by_identity_are_equal_to_themselves_only():
    a, b = (kd.evals.Evaluator(run=kd.evals.Final()) for _ in range(2))
    assert a == a
    assert a != b


def test_what_cannot_export_is_no_exporter(tmp_path):
    with pytest.raises(
        kd.train.TrainerError, match=r"kd\.export\.JaxModelExporter\(\)"
    ):
        small_run.make_trainer(tmp_path, exporter="onnx")


def test_published_names_of_arguments_are_accepted(tmp_path):
    key = jax.random.PRNGKey(0)
    by_name = kd.random.fold_in_str(key, data="a")
    assert (by_name == kd.random.fold_in_str(key, "a")).all()
    mine = kd.train.RngStream("mine", eval=True)
    assert "mine" in kd.train.RngStreams(stream_overwrites=[mine], seed=1).eval_rngs(0)
    with pytest.raises(ValueError, match="two names of one field"):
        kd.train.RngStreams(streams=[mine], stream_overwrites=[mine])
    run = kd.evals.StandaloneEveryCheckpoint(job_group="a")
    assert run.replace(seconds_to_sleep=3).job_group == "a"
    trainer = small_run.make_trainer(
        tmp_path, evals={"e": kd.evals.Evaluator(run=kd.evals.Final(), num_batches=2)}
    )
    batches = [*trainer.evals["e"].ds_iter]
    assert [b["x"].shape for b in batches] == [(16, 3), (16, 3)]
    with pytest.raises(ValueError, match="f"):
        trainer.continuous_eval(names=["f"])


def test_subclass_of_a_trainer_adds_fields_without_a_decorator(tmp_path):
    class Mine(kd.train.Trainer):
        extra: int = 2

    base = small_run.make_trainer(tmp_path)
    fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    mine = Mine(**fields, extra=4)
    assert mine.extra == mine.replace(seed=5).extra == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        mine.extra = 5


@pytest.mark.parametrize(
    ("num_epochs", "num_train_steps", "stop_after_steps", "expected"),
    [
        (None, 7, None, 7),
        (None, 7, 5, 5),
        (None, 7, 9, 7),
        (None, 7, 0, 0),
        # 4 x 40 examples in batches of 16.
        (4, None, None, 10),
        (4, None, 3, 3),
        (4, 10, None, 10),
        (4, 9, None, 9),
    ],
)
def test_number_of_updates(num_epochs, num_train_steps, stop_after_steps, expected):
    trainer = small_run.make_trainer(
        "unused",
        train_ds=small_run.make_ds(num_epochs=num_epochs),
        num_train_steps=num_train_steps,
        stop_after_steps=stop_after_steps,
    )
    assert trainer.last_step() == expected


def test_one_update_more_than_there_are_batches_is_refused():
    trainer = small_run.make_trainer(
        "unused", train_ds=small_run.make_ds(num_epochs=4), num_train_steps=11
    )
    with pytest.raises(ValueError, match="is 11, but `train_ds` has only 10 batches"):
        trainer.last_step()
