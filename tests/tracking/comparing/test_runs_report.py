"""`kauldron report RUN RUN`: what it tells of several runs."""

from __future__ import annotations

import json
import re

import pytest

from kauldron.tracking.comparing import (
    differences,
    documents,
    report_files,
    runs_report,
)
from tests.tracking.made_up_runs import MadeUpRuns, metric, run


def _document(*runs) -> documents.Document:
    made = runs_report.make_runs_report(MadeUpRuns(runs), runs)
    return runs_report.document_of(made)


def _table(document, title):
    [table] = [table for table in document.tables if table.title.startswith(title)]
    return {row[0]: tuple(row[1:]) for row in table.rows}


def test_the_best_of_each_metric_is_told_with_whose_it_is():
    document = _document(run(1), run(3), run(2))
    facts = dict(document.facts)
    # By the made-up runs: accuracy rises with their number, the loss falls.
    assert facts["best eval.accuracy: run_0003"] == "0.93"
    assert facts["best eval.xentropy: run_0003"] == "0.47"
    both = _document(run(1), run(2, metrics=run(1).metrics), run(3, metrics={}))
    assert ("best eval.accuracy: run_0001, run_0002", "0.91") in both.facts


def test_a_table_has_what_differs_alone_and_marks_the_best():
    document = _document(run(1), run(2))
    assert _table(document, "Parameters") == {"aux.num_features": ("8", "16")}
    measured = _table(document, "Metrics")
    assert measured["eval.accuracy"] == ("0.91", "0.92 *")
    assert measured["eval.xentropy"] == ("0.49", "0.48 *")
    assert "train.xentropy" not in measured  # the same in both
    assert document.subtitle.startswith("digits / width; 3 parameters and metrics")
    assert _table(document, "Runs")["run_0001"][0] == "digits_1"


def test_json_has_the_runs_what_differs_and_every_curve(tmp_path):
    alone = run(2, metrics={**run(2).metrics, "eval.f1": metric(0.5)})
    runs = [run(1), alone]
    made = runs_report.make_runs_report(MadeUpRuns(runs), runs)
    report_files.write_report(made, str(tmp_path / "new" / "report"))
    told = json.loads((tmp_path / "new" / "report" / "report.json").read_text())
    assert [x["id"] for x in told["runs"]] == ["run_0001", "run_0002"]
    assert told["comparison"] == differences.compare(runs).as_dict()
    assert list(told["curves"]["eval.f1"]) == ["run_0002"]
    source = MadeUpRuns(runs)
    for one in runs:
        curve = source.curve(one, "eval.accuracy")
        kept = told["curves"]["eval.accuracy"][one.id]
        assert kept["steps"] == list(curve.steps)
        assert kept["values"] == pytest.approx(list(curve.values))
    text = (tmp_path / "new" / "report" / "report.md").read_text()
    shown = re.findall(r"!\[.+\]\((figures/.+\.png)\)", text)
    assert shown[0] == "figures/curve_eval_accuracy.png"
    for path in shown:
        assert (tmp_path / "new" / "report" / path).read_bytes()[1:4] == b"PNG"


def test_names_of_runs_are_text_and_never_markup():
    bad = "<script>alert(1)</script>"
    document = _document(run(1, name=bad, parameters={bad: bad}), run(2, parameters={}))
    assert "<script" not in report_files.to_html(document)
