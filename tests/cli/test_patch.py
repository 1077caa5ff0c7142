"""`--patch.*` and `kd.cli.PatchConfig`: configs for a trial run."""

from __future__ import annotations

import jax
import pytest

from kauldron import kd, konfig
from kauldron.cli import config, data

CLASSIFIER = "--cfg=examples/digits_classifier.py"
AUTOENCODER = "--cfg=examples/digits_autoencoder.py"


@pytest.fixture
def cfg():
    with konfig.imports():
        from kauldron import kd as lazy_kd

    return lazy_kd.train.Trainer(
        seed=0,
        train_ds=lazy_kd.data.py.DataSource(batch_size=64, shuffle=True),
        evals={
            "test": lazy_kd.evals.Evaluator(
                run=lazy_kd.evals.EveryNSteps(10),
                ds=lazy_kd.data.py.DataSource(batch_size=64),
                metrics={"a": 1},
            ),
        },
        checkpointer=lazy_kd.ckpts.Checkpointer(save_interval_steps=1),
        train_metrics={"a": 1},
        train_summaries={"b": 2},
    )


def test_defaults_make_a_run_of_one_step(cfg):
    before = str(cfg)
    patched, changes = kd.cli.PatchConfig()(cfg)
    assert str(cfg) == before
    assert patched.stop_after_steps == 1
    assert patched.train_ds.batch_size == jax.local_device_count()
    assert patched.evals.test.ds.batch_size == jax.local_device_count()
    assert patched.evals.test.num_batches == 1
    assert konfig.resolve(patched.evals.test.run) == kd.evals.Once(0)
    assert patched.checkpointer is None
    assert patched.workdir is not None  # a temporary directory
    assert patched.train_metrics.a == 1
    assert changes["evals.test.num_batches"] == 1
    assert changes["train_ds.batch_size"] == jax.local_device_count()


@pytest.mark.parametrize(
    ("options", "path", "expected"),
    [
        ({"stop_after_steps": 5}, "stop_after_steps", 5),
        ({"batch_size": 3}, "train_ds.batch_size", 3),
        ({"batch_size": None}, "train_ds.batch_size", 64),
        ({"num_batches": 7}, "evals.test.num_batches", 7),
        ({"skip_eval": True}, "evals", {}),
        (
            {"eval_run_once": False},
            "evals.test.run.__qualname__",
            "kauldron.kd:evals.EveryNSteps",
        ),
        ({"skip_metrics": True}, "train_metrics", {}),
        ({"skip_metrics": True}, "evals.test.metrics", {}),
        ({"skip_summaries": True}, "train_summaries", {}),
        ({"profile": True}, "stop_after_steps", 17),
        ({"profile": True}, "profiler.__qualname__", "kauldron.kd:inspect.Profiler"),
        (
            {"checkify": True},
            "checkify_error_categories.__const__",
            "jax.experimental.checkify:all_checks",
        ),
    ],
)
def test_each_option_changes_what_it_says(cfg, options, path, expected):
    patched, _ = kd.cli.PatchConfig(**options)(cfg)
    found = kd.kontext.get_by_path(patched, path)
    assert found == (konfig.ConfigDict() if expected == {} else expected)


def test_checkpointer_is_kept_if_asked(cfg):
    patched, _ = kd.cli.PatchConfig(skip_checkpointer=False)(cfg)
    assert patched.checkpointer == cfg.checkpointer


def test_show_with_a_patch_tells_every_change(call):
    code, out, _ = call(config.show, AUTOENCODER, "--patch.skip_eval")
    assert code == 0
    assert "# patched: stop_after_steps = 1" in out.splitlines()
    assert "    evals={}," in out.splitlines()


def test_show_without_a_patch_changes_nothing(call):
    _, out, _ = call(config.show, AUTOENCODER)
    assert "patched" not in out


def test_overrides_beat_patches(call):
    flags = ["--patch", "--cfg.train_ds.batch_size=7", "--cfg.stop_after_steps=9"]
    code, out, _ = call(config.show, CLASSIFIER, *flags)
    assert code == 0
    assert "batch_size=7," in out and "stop_after_steps=9," in out
    assert "# patched: train_ds.batch_size" not in out
    assert "# patched: stop_after_steps" not in out


def test_misspelt_patch_names_the_nearest(call):
    code, _, err = call(config.show, CLASSIFIER, "--patch.skip_evl")
    assert code == 2
    assert "Did you mean 'skip_eval'?" in err


def test_patch_of_the_wrong_type(call):
    code, _, err = call(config.show, CLASSIFIER, "--patch.num_batches=many")
    assert code == 2
    assert "num_batches=many" in err and "int" in err


def test_commands_as_python_objects(capfd, cfg):
    origin = kd.cli.ConfigOrigin(filename="a.py", overrides={"seed": 1})
    kd.cli.config.Show(cfg=cfg, origin=origin)()
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ["# a.py", "# --cfg.seed=1"]
    assert kd.cli.config.Resolve(cfg=konfig.ConfigDict({"a": 1})).group == "config"
    kd.cli.config.Resolve(cfg=konfig.ConfigDict({"a": 1}), verbose=True)()
    assert "Resolved in" in capfd.readouterr().out


def test_element_spec_as_a_python_object(capfd, monkeypatch, call):
    code, out, _ = call(data.element_spec, CLASSIFIER, "--patch.batch_size=4")
    assert code == 0
    assert "image: f32[4 8 8 1]" in out
    cfg = konfig.load_config_file("examples/digits_classifier.py")
    kd.cli.data.ElementSpec(cfg=cfg, ds_path="eval_ds")()
    assert "image: f32[" in capfd.readouterr().out
