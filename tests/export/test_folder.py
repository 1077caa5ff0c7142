"""An exported folder predicts what the model does, and says what it holds."""

from __future__ import annotations

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from kauldron import kd
from tests.export import models
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def model():
    return models.Norms(image="batch.image", label="batch.label")


@pytest.fixture(scope="module")
def state(model):
    return models.state_of(model, models.images())


@pytest.fixture(scope="module")
def folder(model, state, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "model"
    kd.export.export(
        model, state, out, batch=models.images(), labels=["cat", "dog", "bird"]
    )
    return out


@pytest.fixture(scope="module")
def spec(folder):
    return json.loads((folder / "spec.json").read_text())


@pytest.mark.parametrize("num_rows", [1, 6])
def test_a_batch_of_any_size_is_predicted_as_the_model_does(
    folder, model, state, num_rows
):
    batch = models.images(num_rows)
    preds = kd.export.load(folder)(batch)
    expected = models.apply(model, state, batch)
    np.testing.assert_allclose(preds["logits"], expected["logits"], atol=1e-5)
    np.testing.assert_allclose(preds["more[0]"], expected["more"][0], atol=1e-5)


def test_second_call_compiles_nothing(folder):
    loaded = kd.export.load(folder)
    loaded(models.images())
    loaded(models.images())
    assert loaded._call._cache_size() == 1


def test_weights_have_the_names_of_checkpoints_and_statistics_are_among_them(
    folder, state
):
    weights = safetensors.numpy.load_file(folder / "weights.safetensors")
    assert sorted(weights) == [
        "collections.batch_stats.norm.mean",
        "collections.batch_stats.norm.var",
        "params.conv.bias",
        "params.conv.kernel",
        "params.head.bias",
        "params.head.kernel",
        "params.norm.bias",
        "params.norm.scale",
    ]
    np.testing.assert_array_equal(
        weights["params.conv.kernel"], state.params["conv"]["kernel"]
    )


def test_whoever_may_read_one_file_may_read_all(folder):
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_spec_says_what_goes_in_and_out(spec):
    batch = models.images()
    assert spec["inputs"] == {  # the model does not read the label
        "image": {
            "shape": ["b", 5, 5, 2],
            "dtype": "float32",
            "range_in_a_batch": [
                float(batch["image"].min()),
                float(batch["image"].max()),
            ],
        }
    }
    assert spec["outputs"]["logits"] == {"shape": ["b", 3], "dtype": "float32"}
    assert spec["labels"] == ["cat", "dog", "bird"]
    assert spec["step"] == 7 and spec["key"] is None
    assert spec["versions"]["jax"] == jax.__version__
    assert spec["program"]["platforms"] == ["cpu", "cuda", "tpu"]
    assert spec["differences"]["logits"]["max_abs"] <= 1e-5


def test_readme_runs_as_it_stands(folder, monkeypatch, capsys):
    text = (folder / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    monkeypatch.chdir(folder)
    exec(code, {})
    assert "'logits': (2, 3)" in capsys.readouterr().out


def test_weights_of_another_training_take_the_place_of_the_first(folder, model, state):
    loaded = kd.export.load(folder)
    loaded.weights = jax.tree.map(lambda x: 2 * x, loaded.weights)
    doubled = state.replace(
        params=jax.tree.map(lambda x: 2 * x, state.params),
        collections=jax.tree.map(lambda x: 2 * x, state.collections),
    )
    batch = models.images()
    expected = models.apply(model, doubled, batch)["logits"]
    np.testing.assert_allclose(loaded(batch)["logits"], expected, rtol=1e-5, atol=1e-5)


def test_a_run_in_bf16_is_exported_in_bf16_with_its_weights_as_they_are(tmp_path):
    trainer = small_run.make_trainer(tmp_path / "run", precision="bf16")
    state = trainer.init_state(skip_optimizer=True)
    written = kd.export.export(trainer, state, tmp_path / "out", platforms=["cpu"])
    batch = next(iter(trainer.eval_ds))
    found = kd.export.load(tmp_path / "out")(batch)["logits"]
    in_f32 = models.apply(trainer.model, state.replace(collections={}), batch)["logits"]
    assert found.dtype == jnp.float32
    assert (
        0 < np.abs(np.asarray(found) - np.asarray(in_f32)).max() < 0.05
    )  # bf16 has 8 bits
    assert written.differences["logits"].max_abs <= 1e-5  # from the run in bf16
    weights = safetensors.numpy.load_file(tmp_path / "out" / "weights.safetensors")
    assert {x.dtype for x in weights.values()} == {np.dtype(np.float32)}
    assert written.spec["preprocessing"] == [] and written.spec["compared_on_data"]


def test_weights_in_bf16_are_stored_in_bf16(tmp_path):
    model = kd.nn.Sequential(
        inputs="batch.x", outputs="y", layers=[nn.Dense(2, param_dtype=jnp.bfloat16)]
    )
    state = models.state_of(model, models.points())
    written = kd.export.export(
        model, state, tmp_path / "out", batch=models.points(), platforms=["cpu"]
    )
    kernel = kd.export.load(tmp_path / "out").weights["params.layers_0.kernel"]
    assert kernel.dtype == jnp.bfloat16
    assert written.differences["y"].max_abs == 0


def test_random_numbers_come_from_the_key(tmp_path):
    model = models.Noisy(x="batch.x")
    batch = models.points()
    state = models.state_of(model, batch)
    streams = kd.train.RngStreams([kd.train.RngStream("noise", eval=True)], seed=3)

    def forward(index, state, batch):
        rngs = streams.eval_rngs(index)
        return model.apply({"params": state.params}, batch["x"], rngs=rngs)

    out = tmp_path / "out"
    written = kd.export.export(
        model, state, out, batch=batch, forward=forward, platforms=["cpu"]
    )
    loaded = kd.export.load(out)
    one, again, other = (loaded(batch, key=jax.random.key(i))["y"] for i in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.all(one != other)
    raw = loaded(batch, key=jax.random.PRNGKey(0))["y"]
    np.testing.assert_array_equal(one, raw)
    noise = one - nn.Dense(2).apply({"params": state.params["Dense_0"]}, batch["x"])
    assert 0.2 < np.std(noise) < 3  # a standard normal one, eight draws
    assert written.spec["key"] == {"shape": [2], "dtype": "uint32"}
    with pytest.raises(
        kd.export.ExportError, match=r"give `key=jax\.random\.key\(0\)`"
    ):
        loaded(batch)


def test_a_fixed_batch_size_serves_a_model_that_needs_one(tmp_path):
    model = models.Inner(lambda x: x * float(len(x)))
    batch = models.points()
    state = models.state_of(model, batch)
    with pytest.raises(kd.export.ExportError) as error:
        kd.export.export(model, state, tmp_path / "out", batch=batch)
    assert "cannot take a batch of any size" in str(error.value)
    assert "'inner'" in str(error.value) and "--batch_size=8" in str(error.value)
    kd.export.export(model, state, tmp_path / "out", batch=batch, batch_size=2)
    loaded = kd.export.load(tmp_path / "out")
    assert loaded.spec["inputs"]["x"]["shape"] == [2, 3]
    expected = models.apply(model, state, models.points(2))["y"]
    np.testing.assert_allclose(loaded(models.points(2))["y"], expected, atol=1e-5)


def test_kernels_in_int8_are_a_quarter_and_off_by_half_a_step_at_most(tmp_path, state):
    model = models.Norms(image="batch.image")
    out = tmp_path / "out"
    written = kd.export.export(
        model, state, out, batch=models.images(), quantize="int8", platforms=["cpu"]
    )
    weights = safetensors.numpy.load_file(out / "weights.safetensors")
    names = ["params.conv.kernel", "params.head.kernel"]
    assert sorted(written.spec["quantized"]) == names
    for name, layer in zip(names, ("conv", "head"), strict=True):
        exact = np.asarray(state.params[layer]["kernel"])
        scale = np.abs(exact).reshape(-1, exact.shape[-1]).max(0) / 127
        assert weights[name].dtype == np.int8
        np.testing.assert_allclose(weights[f"{name}.scale"], scale, rtol=1e-6)
        restored = weights[name] * weights[f"{name}.scale"]
        assert np.all(np.abs(restored - exact) <= scale / 2 * 1.001)
    params = jax.tree.map(lambda x: x, state.params)
    for layer in ("conv", "head"):
        name = f"params.{layer}.kernel"
        params[layer]["kernel"] = weights[name] * weights[f"{name}.scale"]
    batch = models.images()
    expected = models.apply(model, state.replace(params=params), batch)["logits"]
    np.testing.assert_allclose(
        kd.export.load(out)(batch)["logits"], expected, atol=1e-5
    )
    difference = written.differences["logits"]
    exact = models.apply(model, state, batch)["logits"]
    np.testing.assert_allclose(
        difference.max_abs, np.abs(expected - exact).max(), atol=1e-5
    )
    assert 0 < difference.relative < 0.01
    assert "% less than the" in written.describe()
    kept = written.spec["weights"]["not_quantized"]
    assert kept == {
        name: x.nbytes
        for name, x in weights.items()
        if x.dtype == np.float32 and not name.endswith("kernel.scale")
    }
    assert f"in full precision: {sum(kept.values())} B: " in written.describe()
    assert next(iter(kept)) in written.describe()


def test_a_parameter_that_nothing_reads_is_left_out(tmp_path):
    class TwoHeads(nn.Module):
        x: kd.kontext.Key = "batch.x"

        def setup(self):
            self.used, self.unused = nn.Dense(2), nn.Dense(5)

        def __call__(self, x):
            return {"y": self.used(x), "z": self.unused(x)}

        def only(self, x):
            return {"y": self.used(x)}

    model, batch = TwoHeads(), models.points()
    state = models.state_of(model, batch)
    out = tmp_path / "out"
    kd.export.export(
        model, state, out, batch=batch, model_method="only", platforms=["cpu"]
    )
    weights = safetensors.numpy.load_file(out / "weights.safetensors")
    assert sorted(weights) == ["params.used.bias", "params.used.kernel"]
