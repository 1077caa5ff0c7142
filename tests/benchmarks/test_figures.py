"""The table of the documentation is made of what benchmarks have written."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import clocks, figures


def _figure(**changes):
    about = {"what": "loop", "unit": figures.TIMES, "value": 1.234, "low": 0.9}
    about |= {"high": 2.0, "num_rounds": 7, "test": "bench_loop.py"}
    return figures.Figure(**{**about, **changes})


def _run(*what, **changes):
    return {
        "command": "make bench",
        "date": "2026-11-30",
        "machine": {"processor": "EPYC", "cores": 2, "load": 1.5, "system": "Linux"},
        "versions": {"python": "3.11", "jax": "0.10"},
        "figures": [vars(_figure(what=x, **changes)) for x in what],
    }


def test_row_has_value_spread_and_budget():
    row = _figure(against="the raw loop", processor=1.1, budget=1.05).row()
    assert row == (
        "| loop | 1.23 \u00d7 the raw loop (0.9 to 2 in 7 rounds; processor time 1.1): "
        "**over the budget** | ≤ 1.05 \u00d7 | `bench_loop.py` |"
    )
    row = _figure(unit="µs", value=1234.5, num_rounds=1).row()
    assert row == "| loop | 1,234 µs (one round) | — | `bench_loop.py` |"


@pytest.mark.parametrize(
    ("value", "more", "is_within"),
    [(1.0, False, True), (1.1, False, False), (1.1, True, True), (0.9, True, False)],
)
def test_budget_is_a_bound_from_above_or_below(value, more, is_within):
    figure = _figure(value=value, budget=1.0, is_more_better=more)
    assert figure.is_within_budget is is_within
    assert ("≥" in figure.row()) is more


def test_recorder_writes_ratios_of_both_clocks(capsys):
    recorder = figures.Recorder().of("bench_x.py")
    ours, theirs = [clocks.Secs(2, 3)] * 7, [clocks.Secs(1, 1)] * 7
    recorder.ratio("x", ours, theirs, against="by hand", budget=1.0)
    (figure,) = recorder.collected
    assert (figure.value, figure.processor, figure.test) == (2, 3, "bench_x.py")
    assert capsys.readouterr().out == (
        "\nx: 2 \u00d7 by hand (2 to 2 in 7 rounds; processor time 3); OVER the budget of 1\n"
    )


def test_newer_figures_stand_for_older_ones_of_the_same_name():
    runs = figures.merge([_run("a", "b"), _run("c")], _run("c", "b", value=5.0))
    assert [[x["what"] for x in run["figures"]] for run in runs] == [["a"], ["c", "b"]]
    assert runs[1]["figures"][1]["value"] == 5.0


def test_table_tells_where_and_with_what_each_row_was_measured():
    made = figures.table([_run("a"), _run("b", test="bench_b.py")])
    assert [line.split(" |")[0] for line in made.splitlines()[2:4]] == ["| b", "| a"]
    assert made.splitlines()[-1] == (
        "- `bench_b.py`: 2026-11-30, 2 cores of EPYC, load 1.5; python 3.11, jax 0.10; "
        "`make bench`"
    )


def test_peers_have_a_column_each_and_say_what_is_missing():
    figures_of_peers = [
        _figure(what=what, table="peers", against="its raw loop (3 ms a step)")
        for what in ("step, MLP: A", "step, ViT: A", "step, ViT: B")
    ]
    run = {**_run(), "figures": [vars(x) for x in figures_of_peers]}
    assert figures.table([run]).splitlines()[5:9] == [
        "| over its own raw loop | A | B |",
        "|---|---|---|",
        "| step, MLP | 1.23 \u00d7 (0.9 to 2; raw 3 ms a step) | not measured |",
        "| step, ViT | 1.23 \u00d7 (0.9 to 2; raw 3 ms a step) "
        "| 1.23 \u00d7 (0.9 to 2; raw 3 ms a step) |",
    ]


def test_page_has_the_table_of_the_recorded_figures():
    runs = json.loads(figures.RECORDED.read_text())
    page = figures.PAGE.read_text()
    assert figures.insert(page, figures.table(runs)) == page, (
        "run `python -m tests.benchmarks.figures`"
    )
    for run in runs:
        for x in run["figures"]:
            assert (figures.ROOT / "tests/benchmarks" / x["test"]).exists()
            assert x["low"] <= x["value"] <= x["high"]


def test_page_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match="no lines"):
        figures.insert("# Benchmarks", "| a |")


def test_description_of_a_run_is_plain_json():
    run = figures.describe("make bench", [_figure()])
    assert json.loads(json.dumps(run)) == run
    assert run["machine"]["cores"] > 0 and run["versions"]["jax"]
