"""Predicting with a finished run: from the shell and from Python."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from absl import flags
from PIL import Image

from kauldron import kd, konfig
from kauldron.cli import predict as predict_command
from kauldron.evals import output_files
from tests.evals import predict_config

NUM_EXAMPLES = 39  # 2 * 16 + 7


def _points():
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(NUM_EXAMPLES, 2, 2, 1)).astype(np.uint8)
    return {"pixels": pixels, "label": (pixels.mean((1, 2, 3)) > 127).astype(np.int64)}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run, moved after it ended, and with its training data gone."""
    folder = tmp_path_factory.mktemp("predict")
    np.savez(folder / "points.npz", **_points())
    cfg = predict_config.get_config(str(folder / "points.npz"))
    cfg.workdir = str(folder / "old")
    konfig.resolve(cfg).train()
    (folder / "old").rename(folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def predictor(workdir):
    return kd.evals.Predictor.from_workdir(workdir)


@pytest.fixture
def run(capfd, monkeypatch):
    """Runs `kauldron predict` in this process; returns exit code, stdout, stderr."""
    monkeypatch.delenv("KAULDRON_DEBUG", raising=False)

    def run(*args):
        capfd.readouterr()
        argv = ["kauldron", *map(str, args)]
        code = predict_command.main(argv, flag_values=flags.FlagValues())
        return code, *capfd.readouterr()

    return run


@pytest.mark.parametrize("step", [3, 6])
def test_predictions_are_the_bits_that_the_evaluator_wrote(workdir, step):
    written = kd.evals.read_outputs(workdir / "outputs" / "test" / f"step_{step}.npz")
    predictor = kd.evals.Predictor.from_workdir(workdir, step=step)
    predicted = predictor.predict(keys=["preds.logits", "batch.label"])
    assert predictor.step == step
    np.testing.assert_array_equal(predicted["preds.logits"], written["preds.logits"])
    np.testing.assert_array_equal(predicted["batch.label"][:, 0], _points()["label"])


def test_initial_transform_of_an_evaluator_is_used(workdir, predictor):
    written = kd.evals.read_outputs(workdir / "outputs" / "ema")["preds.logits"]
    averaged = kd.evals.Predictor.from_workdir(workdir, eval_name="ema")
    np.testing.assert_array_equal(averaged.predict()["preds.logits"], written)
    assert np.any(predictor.predict()["preds.logits"] != written)


@pytest.mark.parametrize(
    "options", [{"eval_name": "ema"}, {"ema": True}], ids=["eval_name", "ema"]
)
def test_average_of_the_parameters_is_exported(workdir, predictor, tmp_path, options):
    exporting = predictor
    if name := options.pop("eval_name", None):
        exporting = kd.evals.Predictor.from_workdir(workdir, eval_name=name)
    exporting.export(tmp_path / "out", platforms=["cpu"], **options)
    batch = next(iter(predictor.evaluator.ds.for_evaluation()))
    averaged = kd.evals.read_outputs(workdir / "outputs" / "ema")["preds.logits"]
    found = kd.export.load(tmp_path / "out")(batch)["logits"]
    np.testing.assert_allclose(found, averaged[: len(found)], atol=1e-5)


@pytest.mark.parametrize("num_rows", [1, 5, 8])
def test_one_batch_of_any_size_is_predicted(predictor, num_rows):
    x = _points()["pixels"].reshape(NUM_EXAMPLES, -1)[:num_rows] / np.float32(255)
    preds = predictor({"x": x})
    expected = predictor.predict()["preds.logits"][:num_rows]
    assert isinstance(preds["logits"], np.ndarray)
    # A batch of another size may add up in another order.
    np.testing.assert_allclose(preds["logits"], expected, rtol=1e-5, atol=1e-6)


def test_second_prediction_compiles_nothing(predictor):
    evaluator = predictor._evaluator("preds")
    predictor.predict()
    num_compiled = evaluator._jitted_step._cache_size()
    predictor.predict()
    assert predictor._evaluator("preds") is evaluator
    assert evaluator._jitted_step._cache_size() == num_compiled


def _save_inputs(folder, suffix):
    """Writes the pixels alone, without labels, and returns what names the files."""
    pixels = _points()["pixels"]
    if suffix == "npz":
        np.savez(folder / "x.npz", pixels=pixels)
    elif suffix == "npy":
        np.save(folder / "pixels.npy", pixels)
        return folder / "pixels.npy"
    elif suffix == "parquet":
        output_files._write_parquet(folder / "x.parquet", {"pixels": pixels})
    return folder / f"x.{suffix}"


@pytest.mark.parametrize("suffix", ["npz", "npy", "parquet"])
def test_files_without_labels_go_through_the_same_transforms(
    predictor, tmp_path, suffix
):
    ds = predictor.open(_save_inputs(tmp_path, suffix))
    expected = predictor.predict()["preds.logits"]
    np.testing.assert_array_equal(predictor.predict(ds)["preds.logits"], expected)


def test_columns_of_a_csv_file_are_inputs(predictor, tmp_path):
    (tmp_path / "x.csv").write_text("age,mass\n3,0.5\n40,1e2\n")
    like = dataclasses.replace(predictor.evaluator.ds, transforms=[])
    ds = predictor.open(tmp_path / "x.csv", like=like)
    (batch,) = ds.for_evaluation()
    assert batch["age"].dtype == np.int64
    assert batch["age"].tolist() == [3, 40]
    assert batch["mass"].tolist() == [0.5, 100.0]


def test_integer_of_64_bits_does_not_wrap_around(predictor):
    """2**40 has 32 low bits of zero; the largest int32 is the nearest there is."""
    huge = predictor({"x": np.full((1, 4), 2**40)})["logits"]
    largest = predictor({"x": np.full((1, 4), 2**31 - 1)})["logits"]
    np.testing.assert_array_equal(huge, largest)
    assert np.any(huge != predictor({"x": np.zeros((1, 4), int)})["logits"])


def test_images_are_predicted_and_written_with_their_names(
    workdir, predictor, run, tmp_path
):
    for i, image in enumerate(_points()["pixels"][:3]):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
    # The config's key is `pixels`; that of images is `image`.
    rename = "py::kd.data.Elements(keep=['label'], rename={'image': 'x'})"
    out = tmp_path / "preds.parquet"
    code, _, err = run(
        f"--workdir={workdir}",
        f"--out={out}",
        f"--inputs={tmp_path}/*.png",
        f"--cfg.eval_ds.transforms[0]={rename}",
    )
    assert code == 0, err
    assert "Left out, as the inputs lack their keys: Cast(" in err
    written = kd.evals.read_outputs(out)
    assert written["batch.file"].tolist() == [f"{tmp_path}/{i}.png" for i in range(3)]
    expected = predictor.predict()["preds.logits"][:3]
    # A batch of another size may add up in another order.
    np.testing.assert_allclose(written["preds.logits"], expected, rtol=1e-5, atol=1e-6)


def test_inputs_of_another_shape_are_explained(workdir, run, tmp_path):
    np.savez(tmp_path / "x.npz", pixels=np.zeros((4, 3, 3, 1), np.uint8))
    code, _, err = run(
        f"--workdir={workdir}",
        f"--out={tmp_path / 'preds.npz'}",
        f"--inputs={tmp_path}/x.npz",
    )
    assert code == 2
    assert "The model cannot take these inputs" in err
    assert "batch.x: f32[4 9]" in err


def test_command_writes_what_python_predicts(workdir, predictor, run, tmp_path):
    out = tmp_path / "preds.npz"
    code, printed, err = run(f"--workdir={workdir}", f"--out={out}", "--step=6")
    assert code == 0, err
    assert "preds.logits: f32[39 2]" in printed
    np.testing.assert_array_equal(
        np.load(out)["preds.logits"], predictor.predict()["preds.logits"]
    )


def _snapshot(folder):
    return sorted(str(p) for p in folder.rglob("*"))


_MISTAKES = {
    "no workdir": ([], ["--workdir=runs/digits"]),
    "mistyped workdir": (
        ["--workdir={run}n", "--out={out}"],
        ["There is no workdir", "Did you mean", "run'"],
    ),
    "folder above the run": (
        ["--workdir={run}/..", "--out={out}"],
        ["no workdir of a run", "Did you mean", "run'"],
    ),
    "no out": (["--workdir={run}"], ["--out=preds.npz"]),
    "unknown format": (["--workdir={run}", "--out={out}.csv"], [".csv", "'.parquet'"]),
    "misspelt key": (
        ["--workdir={run}", "--out={out}", "--keys=preds.logit"],
        ["preds.logit", "'preds.logits'"],
    ),
    "key without rows": (
        ["--workdir={run}", "--out={out}", "--keys=params.layers_0.kernel"],
        ["no row per example"],
    ),
    "step that is not there": (
        ["--workdir={run}", "--out={out}", "--step=5"],
        ["no checkpoint of step 5", "[0, 3, 6]"],
    ),
    "misspelt dataset": (
        ["--workdir={run}", "--out={out}", "--ds_path=evl_ds"],
        ["evl_ds", "'eval_ds'"],
    ),
    "misspelt evaluator": (
        ["--workdir={run}", "--out={out}", "--eval_name=emma"],
        ["'emma'", "'ema'"],
    ),
    "missing inputs": (
        ["--workdir={run}", "--out={out}", "--inputs={run}/x.npz"],
        ["There is no", "x.npz"],
    ),
    "inputs of an unknown kind": (
        ["--workdir={run}", "--out={out}", "--inputs=x.tsv"],
        ["x.tsv", ".csv"],
    ),
    "endless dataset": (
        ["--workdir={run}", "--out={out}", "--ds_path=train_ds"],
        ["never ends", "num_epochs=1"],
    ),
    "out that cannot be written": (
        ["--workdir={run}", "--out={run}/config.json/x.npz"],
        ["cannot be written"],
    ),
}


@pytest.mark.parametrize("name", _MISTAKES)
def test_mistake_is_explained_and_nothing_is_created(workdir, run, tmp_path, name):
    args, words = _MISTAKES[name]
    before = _snapshot(workdir.parent)
    out = tmp_path / "preds.npz"
    code, _, err = run(*(arg.format(run=workdir, out=out) for arg in args))
    assert code == 2, err
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert _snapshot(workdir.parent) == before
    assert _snapshot(tmp_path) == []


def test_run_without_checkpoint_is_explained(workdir, run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    shutil.copy(workdir / "config.json", copy)
    code, _, err = run(f"--workdir={copy}", f"--out={tmp_path / 'x.npz'}")
    assert code == 2
    assert "has no checkpoint. It has not saved any yet." in err
    assert _snapshot(copy) == [str(copy / "config.json")]


def test_batch_without_the_input_names_the_nearest(predictor):
    with pytest.raises(KeyError, match=r"cfg\.model\.inputs.*'batch\.x'"):
        predictor({"y": np.zeros((2, 4), np.float32)})


def test_reading_leaves_a_save_in_progress_alone(workdir):
    partial = pathlib.Path(workdir) / "checkpoints" / "ckpt_9.orbax-checkpoint-tmp"
    partial.mkdir()
    try:
        kd.evals.Predictor.from_workdir(workdir)
        assert partial.exists()
    finally:
        partial.rmdir()


def _scaled(element):
    """Makes a key that no attribute names."""
    return {**element, "scaled": element["pixels"] / np.float32(255)}


def test_keys_that_a_function_of_ones_own_makes_are_there(predictor, tmp_path, capsys):
    transforms = [
        _scaled,
        kd.data.ValueRange(key="scaled", in_vrange=(0, 1), vrange=(-1, 1)),
        kd.data.Cast(key="label", dtype="int32"),
        kd.data.Elements(rename={"scaled": "x"}, keep=["label"]),
    ]
    like = dataclasses.replace(predictor.evaluator.ds, transforms=transforms)
    np.savez(tmp_path / "x.npz", pixels=_points()["pixels"])
    (batch, *_) = predictor.open(tmp_path / "x.npz", like=like).for_evaluation()
    expected = _points()["pixels"][: len(batch["x"])] / np.float32(255) * 2 - 1
    np.testing.assert_allclose(batch["x"], expected, atol=1e-6)
    assert "label" not in batch
    left_out = capsys.readouterr().err
    assert "Left out, as the inputs lack their keys: Cast(" in left_out
    assert "ValueRange" not in left_out
