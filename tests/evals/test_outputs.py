"""Outputs on disk: one row per example, in the order of the dataset."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest
from flax import linen as nn

from examples import digits_data
from kauldron import kd
from kauldron.evals import example_rows, output_files
from tests.train import small_run

FIRST_ID = 2**40  # more than the i32 that JAX would make of it


class Named(small_run.Points):
    def __getitem__(self, index):
        element = super().__getitem__(index)
        return {**element, "id": np.int64(FIRST_ID + index), "name": f"point {index}"}


def _evaluator(keys, *, ds=None, batch_size=16, cls=kd.evals.Evaluator, **options):
    if ds is None:
        ds = small_run.make_ds(
            training=False, data_source=Named(), batch_size=batch_size
        )
    outputs = kd.evals.WriteOutputs(keys=keys, **options)
    return cls(run=kd.evals.Final(), ds=ds, outputs=outputs)


def _trainer(workdir, evaluator, **changes):
    return small_run.make_trainer(workdir, evals={"test": evaluator}, **changes)


@functools.cache
def _initial_state():
    return small_run.make_trainer(None).init_state()


def _evaluate(workdir, evaluator, **changes):
    trainer = _trainer(workdir, evaluator, **changes)
    trainer.setup.run(trainer)
    state = trainer.init_state() if "model" in changes else _initial_state()
    return trainer, state, trainer.evals["test"].evaluate(state, step=3)


# 40 examples: a rest that is odd, a rest that divides over 8 devices, a single batch.
@pytest.mark.parametrize(
    ("batch_size", "format"), [(7, "npz"), (16, "parquet"), (64, "npz")]
)
def test_one_row_per_example_for_any_batch_size(tmp_path, batch_size, format):
    keys = ["preds", "batch.x", "batch.id", "batch.name"]
    evaluator = _evaluator(keys, batch_size=batch_size, format=format)
    trainer, state, _ = _evaluate(tmp_path, evaluator)
    outputs = kd.evals.read_outputs(tmp_path / f"outputs/test/step_3.{format}")
    points = small_run.Points().x
    with kd.nn.set_train_property(False):
        logits = trainer.model.apply({"params": state.params}, points)["logits"]
    assert set(outputs) == {"preds.logits", "batch.x", "batch.id", "batch.name"}
    np.testing.assert_array_equal(outputs["batch.x"], points)
    np.testing.assert_array_equal(outputs["batch.id"], FIRST_ID + np.arange(40))
    assert outputs["batch.name"].tolist() == [f"point {i}" for i in range(40)]
    # Another batch size may add up in another order.
    np.testing.assert_allclose(outputs["preds.logits"], logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1000, 256, 77])
def test_accuracy_of_scikit_learn_equals_the_reported_one(tmp_path, batch_size):
    from sklearn import metrics

    ds = kd.data.py.DataSource(
        digits_data.Digits(split="test"),
        shuffle=False,
        num_epochs=1,
        batch_size=batch_size,
        transforms=[
            kd.data.ValueRange(key="image", in_vrange=(0, 16), vrange=(0, 1)),
            kd.data.Rearrange(key="image", pattern="h w c -> (h w c)"),
            kd.data.Elements(keep=["label"], rename={"image": "x"}),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
    )
    keys = {"scores": "preds.logits", "label": "batch.label"}
    model = kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=[nn.Dense(10)])
    train_ds = ds.replace(batch_size=64, num_epochs=None)
    _, _, aux = _evaluate(
        tmp_path, _evaluator(keys, ds=ds), train_ds=train_ds, model=model
    )
    outputs = kd.evals.read_outputs(tmp_path / "outputs/test")
    assert len(outputs["label"]) == 360
    expected = metrics.accuracy_score(outputs["label"], outputs["scores"].argmax(-1))
    assert aux.compute().metric_values["metrics/accuracy"] == expected


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_large_outputs_are_several_files_that_read_as_one(tmp_path, format):
    options = {"max_bytes_per_file": 100, "format": format}
    _evaluate(tmp_path, _evaluator(["batch.id", "preds.logits"], **options))
    folder = tmp_path / "outputs" / "test"
    files = sorted(p.name for p in folder.iterdir())
    assert files == [f"step_3.part_{i}_of_3.{format}" for i in range(3)]
    for path in (folder, folder / "step_3", folder / f"step_3.{format}"):
        outputs = kd.evals.read_outputs(path)
        np.testing.assert_array_equal(outputs["batch.id"], FIRST_ID + np.arange(40))
    (folder / files[1]).unlink()
    with pytest.raises(ValueError, match="not complete: found"):
        kd.evals.read_outputs(folder)


def test_step_that_is_evaluated_again_is_written_anew(tmp_path):
    trainer, state, _ = _evaluate(
        tmp_path, _evaluator(["batch.id"], max_bytes_per_file=100)
    )
    folder = tmp_path / "outputs" / "test"
    leftover = folder / ".step_3.npz.process_0.part_0.tmp"  # of a killed process
    leftover.write_bytes(b"")
    evaluator = trainer.evals["test"]
    small = evaluator.replace(
        outputs=evaluator.outputs.replace(max_bytes_per_file=10**6)
    )
    small.evaluate(state, step=3)
    assert [p.name for p in folder.iterdir()] == ["step_3.npz"]


def test_evaluation_that_fails_leaves_no_file(tmp_path):
    class Broken(Named):
        def __getitem__(self, index):
            if index == 33:
                raise OSError("cannot read")
            return super().__getitem__(index)

    ds = small_run.make_ds(training=False, data_source=Broken())
    with pytest.raises(OSError, match="cannot read"):
        _evaluate(tmp_path, _evaluator(["batch.id"], ds=ds, max_bytes_per_file=10))
    assert [*(tmp_path / "outputs" / "test").iterdir()] == []


def test_second_evaluation_compiles_nothing(tmp_path):
    trainer, state, _ = _evaluate(tmp_path, _evaluator(["preds.logits"]))
    evaluator = trainer.evals["test"]
    num_compiled = evaluator._jitted_step._cache_size()
    evaluator.evaluate(state, step=4)
    assert evaluator._jitted_step._cache_size() == num_compiled == 2  # whole and rest


def test_own_forward_pass_gives_outputs_and_metrics(tmp_path):
    class Zeros(kd.evals.Evaluator):
        def _forward(self, step_nr, state, batch):
            context = super()._forward(step_nr, state, batch)
            return context.replace(preds={"logits": 0 * context.preds["logits"]})

    evaluator = _evaluator(["preds.logits"], cls=Zeros)
    _trainer(tmp_path, evaluator).check()
    _, _, aux = _evaluate(tmp_path, evaluator)
    outputs = kd.evals.read_outputs(tmp_path / "outputs/test")
    np.testing.assert_array_equal(outputs["preds.logits"], np.zeros((40, 2)))
    loss = aux.compute().loss_values["losses/xentropy"]
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


def test_own_step_with_outputs_is_refused():
    class OwnStep(kd.evals.Evaluator):
        def _step(self, step_nr, state, batch):
            raise AssertionError

    with pytest.raises(TypeError, match="Override `_forward` instead"):
        _evaluator(["preds.logits"], cls=OwnStep)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["preds.logit"], [r"outputs.keys[0] = 'preds.logit'", "'preds.logits'"]),
        ({"a": "batch.nam"}, ["outputs.keys['a']", "'batch.name'"]),
        (["params.layers_0.kernel"], ["no row per example"]),
        (["preds.logits[0]"], ["has shape (2,)", "which has 16"]),
    ],
)
def test_keys_are_checked_before_anything_is_compiled(tmp_path, keys, words):
    with pytest.raises(ValueError, match="does not fit") as e:
        _trainer(tmp_path / "run", _evaluator(keys)).train()
    for word in (*words, "cfg.evals['test']"):
        assert word in str(e.value)
    assert not (tmp_path / "run" / "outputs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": []}, "names what to write"),
        ({"keys": [3]}, r"names what to write.*\[3\]"),
        ({"keys": ["preds"], "format": "parquett"}, "Did you mean 'parquet'"),
        ({"keys": ["preds"], "max_bytes_per_file": 0}, "at least 1: got 0"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kd.evals.WriteOutputs(**options)


def _write(path, **columns):
    num_rows = len(next(iter(columns.values())))
    with output_files.OutputFiles(path, max_bytes_per_file=10**6) as files:
        files.add(example_rows.Rows({}, columns, num_rows, is_whole=False))


_COLUMNS = {
    "u8 images": np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2),
    "f16": np.array([[1.5, -2.0]], np.float16),
    "bool": np.array([True, False]),
    "i64": np.array([2**62, -1]),
    "NaN and infinity": np.array([np.nan, np.inf], np.float32),
    "texts": np.array(["a", "ünïcode", ""], dtype=object),
    "pairs of texts": np.array([["a", "b"], ["c", "dd"]], dtype=object),
    "bytes": np.array([b"a", b"bc"], dtype=object),
}


@pytest.mark.parametrize("format", ["npz", "parquet"])
@pytest.mark.parametrize("name", _COLUMNS)
def test_what_is_read_is_what_was_written(tmp_path, format, name):
    values = _COLUMNS[name]
    _write(tmp_path / f"x.{format}", file=values)  # a name that `np.savez` refuses
    read = kd.evals.read_outputs(tmp_path / f"x.{format}")["file"]
    np.testing.assert_array_equal(read, values)
    if values.dtype != object:
        assert read.dtype == values.dtype


def test_bf16_is_written_as_f32(tmp_path):
    _write(tmp_path / "x.npz", a=np.array([1.5, 2], ml_dtypes.bfloat16))
    assert kd.evals.read_outputs(tmp_path / "x.npz")["a"].dtype == np.float32


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("x.parquet", np.zeros((2, 0)), r"Parquet cannot hold 'a'.*\(2, 0\)"),
        ("x.parquet", np.zeros(2, complex), "use the format 'npz'"),
        ("x.npz", np.array([None, 1]), "holds NoneType, int"),
        ("file/x.npz", np.zeros(2), "cannot be written to"),
    ],
)
def test_what_cannot_be_written_is_explained(tmp_path, file, values, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=message):
        _write(tmp_path / file, a=values)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_rows_of_several_shapes_are_explained(tmp_path):
    with (
        pytest.raises(ValueError, match=r"several shapes, \[\(3,\), \(4,\)\]"),
        output_files.OutputFiles(tmp_path / "x.npz", max_bytes_per_file=10**6) as f,
    ):
        for width in (4, 3):
            f.add(example_rows.Rows({}, {"a": np.zeros((2, width))}, 2, is_whole=False))


def test_outputs_that_do_not_exist_name_the_nearest(tmp_path):
    _write(tmp_path / "preds.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"Did you mean 'preds\.npz'"):
        kd.evals.read_outputs(tmp_path / "pred.npz")
    with pytest.raises(ValueError, match="There are no outputs"):
        kd.evals.read_outputs(tmp_path / "nowhere" / "step_1")


def test_two_formats_of_one_name_need_the_suffix(tmp_path):
    _write(tmp_path / "x.npz", a=np.zeros(2))
    _write(tmp_path / "x.parquet", a=np.ones(2))
    with pytest.raises(ValueError, match="Say which, with its suffix"):
        kd.evals.read_outputs(tmp_path / "x")
    assert kd.evals.read_outputs(tmp_path / "x.parquet")["a"].tolist() == [1, 1]
