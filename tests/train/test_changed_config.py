"""A run goes on with another config, or beside a damaged one."""

from __future__ import annotations

import re

import pytest

from kauldron import kd, konfig


def _cfg(workdir, *, features=8, num_train_steps=1):
    with konfig.imports():
        import flax.linen as lazy_nn
        import optax as lazy_optax

        from kauldron import kd as lazy_kd
        from tests.train import small_run as lazy_run
    layers = [lazy_nn.Dense(features), lazy_nn.relu, lazy_nn.Dense(2)]
    return lazy_kd.train.Trainer(
        workdir=str(workdir),
        num_train_steps=num_train_steps,
        train_ds=lazy_run.make_ds(),
        model=lazy_kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=layers),
        train_losses={
            "x": lazy_kd.losses.SoftmaxCrossEntropyWithIntLabels(
                logits="preds.logits", labels="batch.label"
            )
        },
        optimizer=lazy_optax.adam(1e-2),
        writer=None,
        checkpointer=lazy_kd.ckpts.Checkpointer(save_interval_steps=1),
    )


@pytest.fixture
def workdir(tmp_path):
    """A run that has ended at step 1."""
    konfig.resolve(_cfg(tmp_path / "run")).train()
    return tmp_path / "run"


def test_another_model_is_refused_with_the_change_of_the_config_first(workdir):
    trainer = konfig.resolve(_cfg(workdir, features=16, num_train_steps=2))
    before = (workdir / "config.json").read_text()
    with pytest.raises(kd.ckpts.MismatchError) as e:
        trainer.train()
    lines = str(e.value).splitlines()
    assert lines[0] == f"The config of {workdir} has changed:"
    assert lines[1] == "~ cfg.num_train_steps: 1 -> 2"
    assert re.fullmatch(r"~ cfg\.model\.layers\[0\].*: 8 -> 16", lines[2])
    arrays = [line.strip() for line in lines if line.startswith("  ")]
    assert arrays == [
        "params.layers_0.bias: float32[8] in the checkpoint, expected float32[16]",
        "params.layers_0.kernel: float32[3, 8] in the checkpoint, expected "
        "float32[3, 16]",
        "params.layers_2.kernel: float32[8, 2] in the checkpoint, expected "
        "float32[16, 2]",
        "opt_state: 6 arrays that do not fit either",
    ]
    assert (workdir / "config.json").read_text() == before


@pytest.mark.parametrize("content", [b"", b'{"seed": 1', b"\xff\xfe\0"])
def test_damaged_config_is_set_aside_and_the_run_continues(workdir, capsys, content):
    good = (workdir / "config.json").read_text()
    for aside in ("config.json.damaged", "config.json.damaged.1"):
        (workdir / "config.json").write_bytes(content)
        steps = 2 if aside.endswith("damaged") else 3
        state, _ = konfig.resolve(_cfg(workdir, num_train_steps=steps)).train()
        assert int(state.step) == steps
        assert (workdir / aside).read_bytes() == content
        said = capsys.readouterr().err
        assert "Warning: The config that the run began with is damaged" in said
        assert f"It is now {aside!r}" in said
    changes = konfig.diff(workdir / "config.json", konfig.ConfigDict(_cfg(workdir)))
    assert [c.field for c in changes] == ["cfg.num_train_steps"]
    assert good


def test_damaged_config_does_not_hide_that_the_model_is_another(workdir):
    (workdir / "config.json").write_text("{")
    trainer = konfig.resolve(_cfg(workdir, features=16, num_train_steps=2))
    with pytest.raises(
        kd.ckpts.MismatchError, match=r"^The checkpoint .* does not fit"
    ):
        trainer.train()
    assert (workdir / "config.json").read_text() == "{"  # nothing was started
