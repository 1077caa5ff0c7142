"""`cfg.exporter`: the program of a model, as published configs write it."""

from __future__ import annotations

import dataclasses
import pathlib

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, konfig
from tests.export import models
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


def _export(model, batch, tmp_path, **fields):
    state = models.state_of(model, batch)
    exporter = kd.export.JaxModelExporter(
        workdir=tmp_path,
        rng_streams=kd.train.RngStreams(seed=0),
        ds_sharding=None,
        precision=None,
        **fields,
    )
    exporter.export(model=model, state=state, element_spec=batch, is_training=False)
    path = tmp_path / "train_model.jax_exported"
    return state, jax.export.deserialize(bytearray(path.read_bytes()))


def test_program_takes_params_collections_and_inputs_by_name(tmp_path):
    model = models.Norms(image="batch.image")
    state, program = _export(model, models.images(), tmp_path)
    assert program.platforms == ("cpu", "tpu")
    batch = models.images(6)  # another size
    found = program.call(
        params=state.params,
        collections=state.collections,
        key=jax.random.PRNGKey(0),
        image=batch["image"],
    )
    expected = models.apply(model, state, batch)
    np.testing.assert_allclose(
        found["preds"]["logits"], expected["logits"], rtol=1e-5, atol=1e-5
    )
    head = found["interms"]["head"]["__call__"][0]
    np.testing.assert_allclose(head, expected["logits"], rtol=1e-5, atol=1e-5)


def test_program_is_differentiable(tmp_path):
    model = kd.nn.Sequential(inputs="batch.x", outputs="y", layers=[nn.Dense(2)])
    state, program = _export(model, models.points(), tmp_path)
    x, key = models.points()["x"], jax.random.PRNGKey(0)

    def loss(params):
        return program.call(params=params, key=key, inputs=x)["preds"]["y"].sum()

    grad = jax.grad(loss)(state.params)["layers_0"]["kernel"]
    np.testing.assert_allclose(grad, np.repeat(x.sum(0)[:, None], 2, 1), rtol=1e-5)


def test_a_model_without_keys_is_refused(tmp_path):
    exporter = kd.export.JaxModelExporter(workdir=tmp_path)
    with pytest.raises(kd.export.ExportError, match="names its inputs: give Dense"):
        exporter.export(
            model=nn.Dense(2), state=None, element_spec=None, is_training=False
        )


def test_shapes_that_the_model_cannot_take_are_told(tmp_path):
    model = models.Inner(lambda x: x * float(len(x)))
    with pytest.raises(
        kd.export.ExportError, match=r"'inner'.*batch_specs='8, \.\.\.'"
    ):
        _export(model, models.points(), tmp_path)


@pytest.mark.parametrize("exporter", [None, kd.export.NoopExporter()])
def test_no_exporter_is_the_default_and_writes_nothing(tmp_path, exporter):
    trainer = small_run.make_trainer(tmp_path, exporter=exporter)
    assert isinstance(trainer.exporter, kd.export.NoopExporter)


@pytest.mark.slow  # it trains twice
def test_a_new_run_writes_the_program_before_its_first_step(tmp_path):
    class Recording(kd.export.JaxModelExporter):
        def export(self, *, model, state, element_spec, is_training):
            assert int(state.step) == 0 and not is_training
            super().export(
                model=model,
                state=state,
                element_spec=element_spec,
                is_training=is_training,
            )

    trainer = small_run.make_trainer(
        tmp_path,
        exporter=Recording(batch_specs="8*n, ..."),  # eight simulated devices
        num_train_steps=2,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
    )
    assert trainer.exporter.rng_streams is trainer.rng_streams
    trainer.train()
    path = pathlib.Path(tmp_path / "train_model.jax_exported")
    assert path.exists()
    path.unlink()
    dataclasses.replace(trainer, num_train_steps=3).train()  # continues
    assert not path.exists()


def test_a_model_that_cannot_be_exported_keeps_the_run_from_starting(tmp_path):
    def told(x):
        jax.debug.print("{}", x)
        return x

    trainer = small_run.make_trainer(
        tmp_path,
        exporter=kd.export.JaxModelExporter(batch_specs="8*n, ..."),
        model=kd.nn.Sequential(
            inputs="batch.x", outputs="logits", layers=[told, nn.Dense(2)]
        ),
    )
    with pytest.raises(kd.export.ExportError, match="calls Python"):
        trainer.train()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_exporter_of_a_published_config_resolves():
    with konfig.mock_modules():
        cfg = kd.export.JaxModelExporter(platforms=["cpu"])
    exporter = konfig.resolve(cfg)
    assert isinstance(exporter, kd.export.ModelExporter)
    assert jnp.shape(exporter.vjp_order) == () and exporter.vjp_order == 1
    with pytest.raises(kd.export.ExportError, match="Did you mean 'cuda'"):
        kd.export.JaxModelExporter(platforms=["gpu"])
