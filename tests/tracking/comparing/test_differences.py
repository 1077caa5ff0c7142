"""What `kauldron runs compare` shows."""

from __future__ import annotations

import csv
import dataclasses
import io

from kauldron.tracking.comparing import differences
from tests.tracking import made_up_runs
from tests.tracking.made_up_runs import metric, run


def test_only_what_differs_is_shown():
    compared = differences.compare([run(1), run(2)])
    assert [d.name for d in compared.differences] == [
        "aux.num_features",
        "eval.accuracy",
        "eval.xentropy",
    ]
    assert compared.num_equal == 3  # learning rate, seed, train.xentropy
    everything = differences.compare([run(1), run(2)], all_values=True)
    assert {"seed", "train.xentropy", "status"} < {
        d.name for d in everything.differences
    }


def test_the_best_value_is_the_largest_or_the_smallest_as_the_metric_has_it():
    compared = differences.compare([run(1), run(3), run(2)])
    best = {d.name: d.best for d in compared.differences if d.kind == "metric"}
    assert best == {"eval.accuracy": {1}, "eval.xentropy": {1}}


def test_nan_is_never_the_best_and_equals_itself():
    nan = float("nan")
    runs = [
        dataclasses.replace(run(i), parameters={}, metrics={"eval.a": metric(value)})
        for i, value in enumerate([nan, 0.5, nan], start=1)
    ]
    [difference] = differences.compare(runs).differences
    assert difference.best == {1}
    assert not differences.compare([runs[0], runs[0]]).differences


def test_a_metric_of_unknown_direction_shows_its_newest_value_and_no_best():
    values = [metric(1.0, last=2.0, mode=None), metric(1.0, last=3.0, mode=None)]
    runs = [
        dataclasses.replace(run(i), parameters={}, metrics={"train.x": value})
        for i, value in enumerate(values)
    ]
    [difference] = differences.compare(runs).differences
    assert (difference.values, difference.best) == ((2.0, 3.0), set())


def test_what_a_run_lacks_is_a_difference_and_true_is_not_one():
    runs = [
        dataclasses.replace(run(1), parameters={"a": 1, "b": True, "c": 2}, metrics={}),
        dataclasses.replace(run(2), parameters={"a": 1.0, "b": 1}, metrics={}),
    ]
    found = {d.name: d.values for d in differences.compare(runs).differences}
    assert found == {"b": (True, 1), "c": (2, None)}


def test_table_names_the_runs_and_stars_the_best():
    text = str(differences.compare([run(1), run(2)]))
    assert text.splitlines()[0].split() == ["run_0001", "run_0002"]
    assert "eval.accuracy (max)  0.91      0.92 *" in text
    assert text.endswith("3 parameters and metrics are the same.")
    assert str(differences.compare([run(1), run(1)])).startswith("No difference")


def test_csv_and_json_hold_the_unrounded_values():
    runs = [run(1), dataclasses.replace(run(2), parameters={"rate": 0.1 + 0.2})]
    compared = differences.compare(runs)
    rows = list(csv.DictReader(io.StringIO(compared.as_csv())))
    by_name = {row["name"]: row for row in rows}
    assert by_name["rate"]["run_0001"] == ""
    assert float(by_name["rate"]["run_0002"]) == 0.1 + 0.2
    told = {d["name"]: d["values"] for d in compared.as_dict()["differences"]}
    assert told["rate"] == {"run_0001": None, "run_0002": 0.1 + 0.2}


def test_a_run_that_says_it_runs_though_nothing_does_is_dead():
    runs = [run(1, status="running", is_alive=True), run(2, status="running")]
    found = {d.name: d.values for d in differences.compare(runs).differences}
    assert found["status"] == ("running", "dead")


def test_runs_are_chosen_once_each_and_enough_of_them():
    from kauldron.tracking.comparing import run_source

    source = made_up_runs.MadeUpRuns([run(1), run(2)])
    chosen = run_source.chosen_runs(source, ["2", "run_0001", "digits_2"], at_least=2)
    assert [r.id for r in chosen] == ["run_0002", "run_0001"]
    try:
        run_source.chosen_runs(source, ["1", "digits_1"], at_least=2)
    except run_source.ComparingError as e:
        assert "at least 2 different runs: got run_0001" in str(e)
