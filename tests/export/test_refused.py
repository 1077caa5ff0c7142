"""What cannot be exported, or loaded, is told: where, and what to do."""

from __future__ import annotations

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax.experimental import checkify

from kauldron import kd
from kauldron.export import _program, _spec
from tests.export import models

pytestmark = pytest.mark.usefixtures("quick_compile")

_COUNTER = itertools.count(1)


def _export(function, out, **options):
    model = models.Inner(function)
    batch = models.points()
    state = kd.train.TrainState(
        step=0,
        params={"Dense_0": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}},
        collections={},
    )
    return kd.export.export(model, state, out, batch=batch, **options)


def _on_eight_devices(x):
    mesh = jax.make_mesh((8,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec(None, None)
    return jax.lax.with_sharding_constraint(x, jax.NamedSharding(mesh, spec))


def _told(x):
    jax.debug.print("x = {}", x)
    return x


def _called_back(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(np.sin, shape, x)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_told, ["calls Python", "debug_print", "'inner'", "jax.debug.print"]),
        (_called_back, ["calls Python", "pure_callback", "'inner'"]),
        (lambda x: x * next(_COUNTER), ["traced again", "'inner'", "make_rng"]),
        (lambda x: x + np.random.rand(3), ["traced again", "'inner'", "np.random"]),
        (_on_eight_devices, ["8 devices", "'inner'", "a single device"]),
        (lambda x: x[x > 0], ["cannot be traced", "'inner'", "not on their values"]),
        (lambda x: x / len(x), ["any size", "'inner'", "`x.shape[0]`", "`len(x)`"]),
        (
            lambda x: x[jax.random.permutation(jax.random.key(0), x.shape[0])],
            ["any size", "'inner'", "--batch_size=8"],
        ),
    ],
)
def test_what_a_program_cannot_do_is_told_with_its_module(tmp_path, function, words):
    with pytest.raises(kd.export.ExportError) as error:
        _export(function, tmp_path / "out")
    assert all(word in str(error.value) for word in words), error.value
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_cannot_run_here_is_written_and_said_to_be_untested(tmp_path):
    written = _export(lambda x: x, tmp_path / "out", platforms=["cuda"])
    assert "not compared with the model: the program is for cuda" in written.describe()
    assert not written.spec["compared_on_data"]
    assert "not compared" in (tmp_path / "out" / "README.md").read_text()


def test_checks_of_values_are_left_out(tmp_path):
    def checked(x):
        checkify.check(jnp.all(x > 1e9), "too small")
        return x

    _export(checked, tmp_path / "out", platforms=["cpu"])
    preds = kd.export.load(tmp_path / "out")(models.points())
    assert np.all(np.isfinite(preds["y"]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "onxx"}, r"Did you mean 'onnx'\?"),
        ({"platforms": ["gpu"]}, r"Did you mean 'cuda'\?"),
        ({"platforms": []}, "`platforms` is empty"),
        ({"quantize": "int4"}, "`quantize` is None or 'int8'"),
    ],
)
def test_choices_are_checked_first(tmp_path, options, words):
    with pytest.raises(kd.export.ExportError, match=words):
        _export(lambda x: x, tmp_path / "out", **options)


def test_int8_is_measured_on_real_data(tmp_path):
    model = models.Inner(lambda x: x)
    specs = {"x": jax.ShapeDtypeStruct((4, 3), "float32")}
    with pytest.raises(kd.export.ExportError, match="measured on real data"):
        kd.export.export(model, None, tmp_path / "x", batch=specs, quantize="int8")
    with pytest.raises(kd.export.ExportError, match="by a batch or its specs"):
        kd.export.export(model, None, tmp_path / "x")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("refused") / "out"
    _export(lambda x: x, out, platforms=["cpu"])
    return out


@pytest.fixture
def folder(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "copy")
    return tmp_path / "copy"


def test_an_older_export_is_replaced_when_asked_and_nothing_else_is(folder, tmp_path):
    with pytest.raises(kd.export.ExportError, match="--overwrite"):
        _export(lambda x: x, folder)
    _export(lambda x: 2 * x, folder, platforms=["cpu"], overwrite=True)
    x = models.points()
    np.testing.assert_allclose(
        kd.export.load(folder)(x)["y"], 2 * x["x"] @ np.ones((3, 2)), atol=1e-5
    )
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(kd.export.ExportError, match="not deleted"):
        _export(lambda x: x, tmp_path / "precious", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(kd.export.ExportError, match="is a file"):
        _export(lambda x: x, tmp_path / "file", overwrite=True)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kd.ckpts, "save_safetensors", full)
    with pytest.raises(kd.export.ExportError, match="No space left on device"):
        _export(lambda x: x, tmp_path / "out", platforms=["cpu"])
    assert list(tmp_path.iterdir()) == []


def _edit_spec(folder, **changes):
    path = folder / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_another_version_is_refused(folder):
    spec = json.loads((folder / "spec.json").read_text())
    _edit_spec(folder, program={**spec["program"], "calling_convention_version": 99})
    with pytest.raises(kd.export.ExportError, match=r"convention 99.*Use a newer jax"):
        kd.export.load(folder)
    _edit_spec(folder, program={**spec["program"], "calling_convention_version": 1})
    with pytest.raises(kd.export.ExportError, match=r"convention 1,.*Export it again"):
        kd.export.load(folder)
    _edit_spec(folder, version=2)
    with pytest.raises(kd.export.ExportError, match=r"version 2; this is .* version 1"):
        kd.export.load(folder)


def test_a_program_that_this_jax_cannot_read_is_told_with_the_versions(folder):
    (folder / "model.stablehlo").write_bytes(b"from the future")
    spec = json.loads((folder / "spec.json").read_text())
    file = _spec.file_entry(epath.Path(folder) / "model.stablehlo")
    _edit_spec(folder, program={**spec["program"], "file": file})
    with pytest.raises(kd.export.ExportError, match=r"cannot be read by jax .*newer"):
        kd.export.load(folder)


def test_a_damaged_or_incomplete_folder_is_refused(folder, tmp_path):
    with pytest.raises(kd.export.ExportError, match=r"`spec\.json` is missing"):
        kd.export.load(tmp_path / "nowhere")
    with (folder / "weights.safetensors").open("ab") as f:
        f.write(b"x")
    with pytest.raises(kd.export.ExportError, match="not the file that was exported"):
        kd.export.load(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(
        kd.export.ExportError, match="is missing: copy the whole folder"
    ):
        kd.export.load(folder)
    (folder / "spec.json").write_text("{")
    with pytest.raises(kd.export.ExportError, match="damaged"):
        kd.export.load(folder)


def test_inputs_that_do_not_fit_are_told(exported):
    loaded = kd.export.load(exported)
    with pytest.raises(
        kd.export.ExportError, match=r"'x' must be float32\[b 3\].*\[4 2\]"
    ):
        loaded({"x": np.zeros((4, 2), np.float32)})
    with pytest.raises(kd.export.ExportError, match=r"got float64\[4 3\]"):
        loaded({"x": np.zeros((4, 3))})
    with pytest.raises(kd.export.ExportError, match=r"'x' is missing.*\['y'\]"):
        loaded({"y": np.zeros((4, 3), np.float32)})


def test_a_program_that_predicts_something_else_is_not_written(tmp_path, monkeypatch):
    real = _program.Program.__call__

    def drifting(self, weights, inputs, key=None):
        preds = real(self, weights, inputs, key)
        is_symbolic = not isinstance(inputs["x"].shape[0], int)
        return {name: x + 10.0 if is_symbolic else x for name, x in preds.items()}

    monkeypatch.setattr(_program.Program, "__call__", drifting)
    with pytest.raises(kd.export.ExportError, match="does not predict what the model"):
        _export(lambda x: x, tmp_path / "out", platforms=["cpu"])
    assert list(tmp_path.iterdir()) == []
