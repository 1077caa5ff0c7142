"""An app of a classifier: what it says against the model of its run, and NumPy."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import special, stats

from kauldron import apps, runs
from kauldron.apps.verbs import _elements
from tests import compilations
from tests.apps.verbs import digit_run


def _rows(path):
    with path.open() as f:
        return list(csv.DictReader(f))


def _probs(path):
    return np.array([[float(row[str(i)]) for i in range(4)] for row in _rows(path)])


def test_the_manifest_says_what_the_run_knows(app):
    manifest = app.inspect()
    assert [(p.name, p.kind) for p in manifest.inputs] == [("image", "image")]
    assert [(p.name, p.kind) for p in manifest.references] == [("label", "table")]
    assert [(p.name, p.kind) for p in manifest.outputs] == [("logits", "table")]
    assert manifest.members == ("step_2", "step_1")
    assert (manifest.step, manifest.max_mc, manifest.max_tta) == (2, 16, 0)
    assert manifest.trusted == () and manifest.trusted_to_train == ("tests",)


def test_a_member_says_what_the_model_of_the_run_says(app, digits, logits, tmp_path):
    result = app.infer(digits / "d*.png", out=tmp_path / "out", ensemble=["step_1"])
    expected = special.softmax(logits(1).astype(np.float64), -1)
    got = _probs(tmp_path / "out" / "logits.csv")
    np.testing.assert_allclose(got, expected, rtol=1e-5)  # printed with 7 digits
    assert result.cases == ("d0", "d1", "d2", "d3", "d4")
    labels = [result.values["cases"][c]["logits"]["label"] for c in result.cases]
    assert labels == [str(i) for i in expected.argmax(-1)]


def test_an_ensemble_is_the_mean_of_its_members(app, digits, logits, tmp_path):
    app.infer(digits / "d*.png", out=tmp_path / "out")
    mean = (logits(1).astype(np.float64) + logits(2)) / 2
    got = _probs(tmp_path / "out" / "logits.csv")
    np.testing.assert_allclose(got, special.softmax(mean, -1), rtol=1e-5)


def test_it_runs_without_the_code_of_the_training(digits, digits_app, tmp_path):
    code = f"""
import sys
from kauldron import apps, runs
from kauldron.apps.verbs import _elements
app = apps.App({str(digits_app)!r})
app.infer({str(digits / "d0.png")!r}, out={str(tmp_path / "out")!r})
known = {{"tests.apps", "orbax", "kauldron.train", "kauldron.evals.base"}}
print(sorted(known & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    assert (tmp_path / "out" / "logits.csv").exists()


def test_accuracy_is_the_share_of_right_labels(app, digits, logits, tmp_path):
    result = app.evaluate(
        digits / "d*.png",
        {"label": digits / "labels.csv"},
        out=tmp_path / "out",
        ensemble=["step_2"],
    )
    right = logits(2).argmax(-1) == digit_run.labels()[:5]
    assert result.values["overall"] == {"accuracy": pytest.approx(right.mean())}
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["overall"] == result.values["overall"]


def test_draws_of_dropout_differ_and_are_the_same_each_time(app, digits, tmp_path):
    for name in ("a", "b"):
        app.uncertainty(digits / "d0.png", out=tmp_path / name, mc=16, ensemble=1)
    [row] = _rows(tmp_path / "a" / "logits.csv")
    assert float(row["variance"]) > 1e-4
    for file in ("logits.csv", "result.json"):
        assert (tmp_path / "a" / file).read_bytes() == (
            tmp_path / "b" / file
        ).read_bytes()


def test_uncertainty_of_an_ensemble_is_that_of_its_probabilities(
    app, digits, logits, tmp_path
):
    app.uncertainty(digits / "d*.png", out=tmp_path / "out")
    probs = special.softmax(np.stack([logits(2), logits(1)]).astype(np.float64), -1)
    rows = _rows(tmp_path / "out" / "logits.csv")
    mean = probs.mean(0)
    got = np.array([[float(r[k]) for k in ("entropy", "variance")] for r in rows])
    np.testing.assert_allclose(got[:, 0], stats.entropy(mean.T), rtol=1e-5)
    np.testing.assert_allclose(got[:, 1], probs.var(0).mean(-1), rtol=1e-4)
    differ = probs.argmax(-1)[0] != probs.argmax(-1)[1]
    assert [float(r["disagreement"]) for r in rows] == list(differ * 0.5)


def test_uncertainty_of_a_single_prediction_is_refused(app, digits, tmp_path):
    with pytest.raises(apps.AppError, match=r"--mc` \(up to 16\)"):
        app.uncertainty(digits / "d0.png", out=tmp_path / "out", ensemble=1)
    assert not (tmp_path / "out").exists()


def test_a_pipeline_does_all_at_once(app, digits, tmp_path):
    result = app.pipeline(
        digits / "d*.png",
        digits / "labels.csv",
        out=tmp_path / "out",
        with_uncertainty=True,
    )
    assert [file.path for file in result.files] == [
        "predictions/logits.csv",
        "uncertainty/logits.csv",
        "evaluation/metrics.json",
    ]
    app.infer(digits / "d*.png", out=tmp_path / "alone")
    assert (tmp_path / "out" / "predictions" / "logits.csv").read_bytes() == (
        tmp_path / "alone" / "logits.csv"
    ).read_bytes()
    without = app.pipeline(digits / "d0.png", out=tmp_path / "without")
    assert [file.path for file in without.files] == ["predictions/logits.csv"]


def test_an_array_and_an_image_are_read_alike(app, digits, tmp_path):
    np.save(tmp_path / "d0.npy", digit_run.images()[0])
    app.infer(tmp_path / "d0.npy", out=tmp_path / "a")
    app.infer(digits / "d0.png", out=tmp_path / "b")
    for file in ("logits.csv", "result.json"):
        assert (tmp_path / "a" / file).read_bytes() == (
            tmp_path / "b" / file
        ).read_bytes()


def test_a_text_that_is_called_an_image_is_told(app, tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(
        ValueError, match=r"^'notes\.png' is no image that can be read\.$"
    ):
        app.infer(tmp_path / "notes.png", out=tmp_path / "out")


def test_a_picture_of_another_size_is_told(app, tmp_path):
    np.save(tmp_path / "big.npy", np.zeros((28, 28, 1), np.uint8))
    with pytest.raises(
        ValueError, match=r"float32\[b 8 8 1\]: got float32\[1 28 28 1\]"
    ):
        app.infer(tmp_path / "big.npy", out=tmp_path / "out")


def test_a_folder_with_files_is_not_written_to(app, digits, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(apps.AppError, match="has files in it"):
        app.infer(digits / "d0.png", out=tmp_path)
    assert [x.name for x in tmp_path.iterdir()] == ["mine.txt"]


def test_a_label_that_is_missing_is_told_by_its_case(app, digits, tmp_path):
    (tmp_path / "labels.csv").write_text("case,label\nd1,3\n")
    with pytest.raises(apps.AppError, match="no row for the case 'd0'"):
        app.evaluate(digits / "d0.png", tmp_path / "labels.csv", out=tmp_path / "out")


def test_a_second_call_compiles_nothing(app, digits, tmp_path):
    app.infer(digits / "d[0-2].png", out=tmp_path / "a", mc=2)
    with compilations.counted() as seconds:
        # Three pictures were filled up to four.
        app.infer(digits / "d[1-4].png", out=tmp_path / "b", mc=3)
    assert seconds == []


def test_every_file_is_read_once_and_the_preprocessing_is_found_once(
    app, digits, tmp_path, monkeypatch
):
    read, fitted = [], []
    read_image, fitting = _elements._read_image, runs.fitting_transforms
    monkeypatch.setattr(
        _elements, "_read_image", lambda *x: [read.append(x), read_image(*x)][1]
    )
    monkeypatch.setattr(
        runs,
        "fitting_transforms",
        lambda *x, **k: [fitted.append(x), fitting(*x, **k)][1],
    )
    app.infer(digits / "d0.png", out=tmp_path / "a")
    fitted.clear()
    read.clear()
    app.infer([digits / f"d{i}.png" for i in range(3)], out=tmp_path / "b")
    assert [os.path.basename(path) for _, path, _ in read] == [
        "d0.png",
        "d1.png",
        "d2.png",
    ]
    assert fitted == []
