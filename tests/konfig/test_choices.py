"""Overrides with several values."""

from __future__ import annotations

import math

import pytest

from kauldron import konfig


def _expand(*flags: str, **kwargs):
    fixed, runs = konfig.expand_choices(konfig.parse_overrides(flags), **kwargs)
    return [o.flag for o in fixed], runs


def test_braces_are_combined_all_with_all_and_the_last_path_changes_fastest():
    fixed, runs = _expand("--cfg.a={1,2}", "--cfg.seed=7", "--cfg.b={x,'y z'}")
    assert fixed == ["--cfg.seed=7"]
    assert runs == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y z"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y z"},
    ]


def test_zipped_braces_run_in_step_beside_a_product():
    _, runs = _expand("--cfg.a=zip{1,2}", "--cfg.c={5,6}", "--cfg.b=zip{3,4}")
    assert runs == [
        {"a": 1, "b": 3, "c": 5},
        {"a": 1, "b": 3, "c": 6},
        {"a": 2, "b": 4, "c": 5},
        {"a": 2, "b": 4, "c": 6},
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{1e-3,3e-4}", [1e-3, 3e-4]),
        ("{ relu , gelu, }", ["relu", "gelu"]),
        ("{[1, 2],(3, 4)}", [[1, 2], (3, 4)]),
        ("{{'k': 1},{'k': 2}}", [{"k": 1}, {"k": 2}]),
        ("{'a,b',None,true}", ["a,b", None, True]),
        ("{5}", [5]),
    ],
)
def test_values_in_braces_are_literals_or_texts(text, values):
    assert [run["x"] for run in _expand(f"--cfg.x={text}")[1]] == values


def test_nodes_stand_in_braces():
    _, runs = _expand("--cfg.x={py::optax.adam(1e-3, b1=0.8),py::optax.sgd(0.1)}")
    assert [run["x"]["__qualname__"] for run in runs] == ["optax:adam", "optax:sgd"]
    assert runs[0]["x"].b1 == 0.8


@pytest.mark.parametrize(
    "text", ["{'a': 1}", '{"a": [1, 2]}', "'{1,2}'", "[1,2]", "a{1,2}", "py::{}"]
)
def test_dicts_and_quoted_texts_are_one_value(text):
    assert _expand(f"--cfg.x={text}") == ([f"--cfg.x={text}"], [{}])


def test_draws_stay_as_they_are_when_more_are_wanted_or_a_path_is_added():
    flags = ("--cfg.lr=loguniform(1e-5,1e-2)", "--cfg.n=randint(1,3)")
    _, few = _expand(*flags, num_samples=5, seed=3)
    _, many = _expand("--cfg.p=uniform(0,1)", *flags, num_samples=50, seed=3)
    assert [{k: run[k] for k in ("lr", "n")} for run in many[:5]] == few
    assert few != _expand(*flags, num_samples=5, seed=4)[1]


def test_draws_have_the_distribution_that_is_written():
    _, runs = _expand(
        "--cfg.u=uniform(-1,1)",
        "--cfg.l=loguniform(1e-4,1)",
        "--cfg.i=randint(1,4)",
        "--cfg.c=choice(relu,gelu)",
        num_samples=2000,
    )
    assert {run["i"] for run in runs} == {1, 2, 3, 4}
    assert {run["c"] for run in runs} == {"relu", "gelu"}
    # Three standard errors of a mean of 2,000 uniform draws of width 2, and of width 4.
    assert abs(sum(run["u"] for run in runs) / 2000) < 3 * (2 / 12**0.5) / 2000**0.5
    mean_log = sum(math.log10(run["l"]) for run in runs) / 2000
    assert abs(mean_log + 2) < 3 * (4 / 12**0.5) / 2000**0.5
    assert all(run["l"] == float(f"{run['l']:.4g}") for run in runs)


def test_draws_are_made_for_each_combination():
    _, runs = _expand("--cfg.a={1,2}", "--cfg.n=randint(1,9)", num_samples=3)
    assert [run["a"] for run in runs] == [1, 1, 1, 2, 2, 2]
    assert [run["n"] for run in runs[:3]] == [run["n"] for run in runs[3:]]


@pytest.mark.parametrize(
    ("flags", "num_samples", "message"),
    [
        (["--cfg.a={}"], None, "--cfg.a={}: there is no value between the braces"),
        (["--cfg.a={1,,2}"], None, "a value is missing between two commas"),
        (["--cfg.a=zip{1,2}", "--cfg.b=zip{1}"], None, "`a` has 2, `b` has 1"),
        (["--cfg.a={1,2}", "--cfg.a=3"], None, "--cfg.a is given twice"),
        (["--cfg.a=uniform(0,1)"], None, "say how often, such as `--num_samples=20`"),
        (["--cfg.a={1,2}"], 3, "There is nothing to draw"),
        (["--cfg.a=uniform(1,0)"], 3, "takes two numbers, the smaller one first"),
        (["--cfg.a=loguniform(0,1)"], 3, "both above 0"),
        (["--cfg.a=randint(0.5,2)"], 3, "takes two whole numbers"),
        (["--cfg.a=choice()"], 3, "there is nothing to choose"),
    ],
)
def test_values_that_give_no_run_are_told(flags, num_samples, message):
    with pytest.raises(konfig.ConfigError) as error:
        _expand(*flags, num_samples=num_samples)
    assert message in str(error.value)
