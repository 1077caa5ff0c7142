"""`kauldron report`: what it finds in a run, and the files it writes."""

from __future__ import annotations

import html.parser
import json
import re

import numpy as np
import pytest
import sklearn.metrics

from kauldron import evals
from kauldron.tracking.comparing import (
    predictions,
    report,
    report_contents,
    report_files,
    run_source,
)
from tests.tracking.made_up_runs import MadeUpRuns, metric, run, with_workdir

CLASSIFIER = {
    "__qualname__": "kauldron.kd:train.Trainer",
    "train_losses": {
        "xentropy": {
            "__qualname__": "kauldron.kd:losses.SoftmaxCrossEntropyWithIntLabels",
            "logits": "preds.scores",
            "labels": "batch.kind",
        }
    },
    "evals": {
        "eval": {
            "outputs": {
                "__qualname__": "kauldron.kd:evals.WriteOutputs",
                "keys": {"a": "preds.scores", "b": "batch.kind", "c": "batch.image"},
            }
        }
    },
}


def _classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (60, 1))
    logits = rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels[:, 0]]
    return {"a": logits, "b": labels, "c": rng.random((60, 8, 8, 1), np.float32)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of a classifier, with its folder."""
    folder = tmp_path_factory.mktemp("report")
    metrics = {"eval.accuracy": metric(0.9), "train.accuracy": metric(0.8)}
    made = run(1, metrics=metrics)
    made = with_workdir(made, folder, config=CLASSIFIER, outputs=_classes())
    found = report.make_report(MadeUpRuns([made]), made)
    files = report_files.write_report(found, str(folder / "out"))
    return found, folder / "out", files


def test_roles_follow_from_the_keys_of_losses_whatever_the_columns_are_called(written):
    found, _, _ = written
    assert found.predicted.roles == {"logits": "a", "labels": "b", "images": "c"}


def test_json_holds_curves_and_the_confusion_matrix_of_scikit_learn(written):
    _, folder, files = written
    assert [f.rpartition("/")[2] for f in files] == [
        "report.md",
        "report.html",
        "report.json",
    ]
    told = json.loads((folder / "report.json").read_text())
    columns = _classes()
    expected = sklearn.metrics.confusion_matrix(
        columns["b"][:, 0], columns["a"].argmax(-1)
    )
    judged = told["predictions"]["classification"]
    assert judged["confusion"] == expected.tolist()
    assert len(told["curves"]["eval.accuracy"]["steps"]) == 31
    assert told["run"]["id"] == "run_0001"
    assert told["predictions"]["source"] == "outputs/eval"


def test_markdown_shows_every_picture_and_each_is_a_file(written):
    found, folder, _ = written
    text = (folder / "report.md").read_text()
    shown = re.findall(r"!\[.+\]\((figures/.+\.png)\)", text)
    assert [s.removeprefix("figures/")[:-4] for s in shown] == [
        f.name for f in found.figures
    ]
    assert {"confusion", "calibration", "examples", "curve_accuracy"} <= {
        f.name for f in found.figures
    }
    assert all((folder / path).read_bytes()[1:4] == b"PNG" for path in shown)
    assert "| aux.num_features | 8 |" in text


def test_html_is_one_file_that_asks_nobody(written):
    _, folder, _ = written
    text = (folder / "report.html").read_text()

    class Links(html.parser.HTMLParser):
        def __init__(self):
            super().__init__()
            self.links = []

        def handle_starttag(self, tag, attrs):
            values = [v for k, v in attrs if k in ("src", "srcset", "href")]
            self.links += [(tag, v.partition(",")[0]) for v in values]

    links = Links()
    links.feed(text)
    assert links.links
    assert {link for _, link in links.links} == {"data:image/png;base64"}
    assert "<script" not in text


def test_names_from_a_run_are_text_and_never_markup(tmp_path):
    bad = "<script>alert(1)</script>"
    made = run(1, name=bad, message=bad, parameters={bad: bad}, metrics={})
    found = report.make_report(MadeUpRuns([made]), made)
    assert "<script" not in report_files.to_html(report_contents.document_of(found))
    made = run(1, parameters={"a": "x | y"}, metrics={})
    found = report.make_report(MadeUpRuns([made]), made)
    assert "| a | x \\| y |" in report_files.to_markdown(
        report_contents.document_of(found)
    )


def test_a_run_without_predictions_has_curves_alone(tmp_path):
    made = with_workdir(run(1), tmp_path)
    found = report.make_report(MadeUpRuns([made]), made)
    assert found.predicted is None
    assert {f.section for f in found.figures} == {"Curves"}
    assert "## Predictions" not in report_files.to_markdown(
        report_contents.document_of(found)
    )


def test_regression_with_scales_has_residuals_and_intervals(tmp_path):
    rng = np.random.default_rng(3)
    targets = rng.normal(size=(50, 1))
    outputs = {
        "preds.mean": targets + 0.1 * rng.normal(size=(50, 1)),
        "batch.target": targets,
        "preds.logvar": np.full((50, 1), np.log(0.01)),
    }
    made = with_workdir(run(1), tmp_path, outputs=outputs)
    found = report.make_report(MadeUpRuns([made]), made)
    assert found.predicted.roles == {
        "preds": "preds.mean",
        "targets": "batch.target",
        "logvar": "preds.logvar",
    }
    expected = sklearn.metrics.r2_score(targets, outputs["preds.mean"])
    assert found.values.r2 == pytest.approx(expected)
    assert found.intervals.coverage[2] == pytest.approx(0.9, abs=0.13)
    assert [f.name for f in found.figures][-2:] == ["residuals", "intervals"]
    report_files.write_report(found, str(tmp_path / "out"), formats=["md"])
    assert not (tmp_path / "out" / "report.html").exists()


def test_pictures_that_were_predicted_stand_below_their_targets(tmp_path):
    rng = np.random.default_rng(4)
    images = rng.random((9, 6, 6, 3))
    outputs = {"preds": images * 0.9, "targets": images}
    made = with_workdir(run(1), tmp_path, outputs=outputs)
    found = report.make_report(MadeUpRuns([made]), made)
    assert found.figures[-1].name == "examples"
    report_files.write_report(found, str(tmp_path / "out"), formats=["md"])


def test_files_of_predict_are_judged_too_and_columns_can_be_told(tmp_path):
    made = with_workdir(run(1), tmp_path)
    columns = _classes()
    np.savez(tmp_path / "p.npz", **{"preds.x": columns["a"], "batch.y": columns["b"]})
    path = str(tmp_path / "p.npz")
    assert not predictions.read(made, path).roles
    roles = {"logits": "preds.x", "labels": "batch.y"}
    found = report.make_report(MadeUpRuns([made]), made, predicted_in=path, roles=roles)
    assert found.classes.num_examples == 60


def test_unknown_roles_columns_formats_and_files_are_named(tmp_path):
    made = with_workdir(run(1), tmp_path, config=CLASSIFIER, outputs=_classes())
    source = MadeUpRuns([made])
    with pytest.raises(run_source.ComparingError, match="Did you mean 'labels'"):
        report.make_report(source, made, roles={"label": "b"})
    with pytest.raises(run_source.ComparingError, match="There are a, b, c"):
        report.make_report(source, made, roles={"labels": "z"})
    with pytest.raises(evals.OutputsError, match="no outputs"):
        report.make_report(source, made, predicted_in=str(tmp_path / "none.npz"))
    found = report.make_report(source, made)
    with pytest.raises(run_source.ComparingError, match="md, html, json: got 'pdf'"):
        report_files.write_report(found, str(tmp_path / "out"), formats=["pdf"])
    (tmp_path / "file").write_text("")
    with pytest.raises(run_source.ComparingError, match="is a file"):
        report_files.write_report(found, str(tmp_path / "file"))


def test_a_loss_that_is_not_finite_is_a_text_in_json(tmp_path):
    made = run(1, metrics={})
    outputs = {"logits": np.eye(2), "labels": np.array([0, 3])}
    made = with_workdir(made, tmp_path, outputs=outputs)
    found = report.make_report(MadeUpRuns([made]), made)
    [path] = report_files.write_report(found, str(tmp_path / "out"), formats=["json"])
    with open(path) as file:
        told = json.load(file, parse_constant=pytest.fail)
    assert told["predictions"]["classification"]["log_loss"] == "inf"


def test_a_vocabulary_is_not_taken_for_classes(tmp_path):
    outputs = {"logits": np.zeros((2, 3, 5000)), "labels": np.zeros((2, 3), int)}
    made = with_workdir(run(1), tmp_path, outputs=outputs)
    found = report.make_report(MadeUpRuns([made]), made)
    assert found.classes is None
    assert {f.section for f in found.figures} == {"Curves"}
