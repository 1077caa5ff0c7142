"""The language of filters: what it says of runs, and where a mistake is."""

from __future__ import annotations

import pytest

from kauldron import kd
from tests.tracking.registry import made_runs


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filters")
    configs = [
        {"optimizer": {"rate": 1e-2, "nesterov": True}, "model": "cnn", "flag": 1},
        {"optimizer": {"rate": 1e-3, "nesterov": False}, "model": "mlp", "flag": "1"},
        {
            "optimizer": {"rate": "auto", "lr": {"__id__": 0}},
            "model": "it's",
            "name": "of config",
            "schedule": {
                "__id__": 0,
                "__qualname__": "optax:warmup_cosine_decay_schedule",
                "init_value": 0.0,
                "peak_value": 3e-3,
            },
        },
    ]
    for i, (config, value) in enumerate(zip(configs, (0.9, "NaN", 0.5), strict=True)):
        losses = {"step": 10, "collection": "eval", "losses/total": 2.0 - i}
        made_runs.make(
            folder / "runs" / f"r{i}",
            config=config,
            curve=[0.7, value],
            records=[losses],
            state=["done", "failed", "running"][i],
            started=1_800_000_000.0 + 1000 * i,
        )
    registry = kd.tracking.Registry.open(folder / "registry.db")
    registry.index(folder)
    registry.change("r0", add_tags=["good", "old"], family="nets", experiment="wide")
    registry.change("r2", add_tags=["good"], archived=True)
    return registry


@pytest.mark.parametrize(
    ("where", "found"),
    [
        # Numbers; what has no number is not compared.
        ("eval.accuracy > 0.4", "02"),
        ("0.4 < eval.accuracy and eval.accuracy < .6e0", "2"),
        ("eval.accuracy != 0.5", "0"),
        ("not eval.accuracy > 0.4", "1"),
        ("eval.accuracy.best >= 0.7", "012"),
        ("eval.accuracy.best_step == 0", "12"),
        ("eval.accuracy.last == 0.9", "0"),
        ("eval.total <= 1", "12"),
        ("optimizer.rate < 1e-2", "1"),
        ("optimizer.rate in (0.01, 'auto')", "02"),
        ("optimizer.rate not in (0.01, 'auto',)", "1"),
        ("optimizer.rate == 'auto'", "2"),
        # A schedule counts by its height, wherever it is used.
        ("optimizer.lr < 1e-2", "2"),
        ("optimizer.lr < 1e-3", ""),
        ("optimizer.lr == 'warmup_cosine_decay_schedule'", "2"),
        ("optimizer.lr.peak_value == 0.003", "2"),
        # Flags are not texts, though they are numbers.
        ("optimizer.nesterov == true", "0"),
        ("optimizer.nesterov != true", "1"),
        ("optimizer.nesterov == none", "2"),
        ("optimizer.nesterov != none", "01"),
        ("flag == '1'", "1"),
        ("flag == 1", "0"),
        # Texts.
        (r"model == 'it\'s' or model == \"mlp\"".replace('\\"', '"'), "12"),
        ("model ~ '^[cm]'", "01"),
        ("'n' in model", "0"),
        ("'N' in model or 'c.n' in model or '0' in name and 'r' in name", "0"),
        ("model > 'd'", "12"),
        # Fields of runs.
        ("'good' in tags and 'old' not in tags", "2"),
        ("tags == none", "1"),
        ("tags ~ '^o'", "0"),
        ("archived == true", "2"),
        ("archived == true or archived == false", "012"),
        ("status in ('done', 'failed')", "01"),
        ("family == 'nets' or experiment == 'runs'", "012"),
        ("family != 'nets'", "12"),
        ("id >= 'run_0002'", "12"),
        ("id == 3", "2"),
        ("name == 'r1'", "1"),
        ("cfg.name == 'of config'", "2"),
        ("started > '2027-01-15T08:10+00:00' and step == 100", "12"),
        # `and` binds more tightly than `or`, `not` most.
        ("id == 1 or id == 2 and id == 3", "0"),
        ("(id == 1 or id == 2) and id == 2", "1"),
        ("not id == 1 and id < 3", "1"),
        ("`optimizer.rate` == 0.001", "1"),
    ],
)
def test_a_filter_finds_the_runs_of_which_it_holds(registry, where, found):
    runs = registry.runs(where, archived=True)
    assert "".join(run.name[1:] for run in runs) == found


@pytest.mark.parametrize(
    ("where", "problem", "marked"),
    [
        ("eval.acuracy > 1", "no run has 'eval.acuracy'. Did you mean 'eval.accuracy'?", (0, 12)),
        ("id == 1 and optimiser.rate < 1", "Character 13: no run has 'optimiser.rate'. Did you mean 'optimizer.rate'?", (12, 26)),
        ("eval.accuracy = 1", "Write `==` instead of `=`.", (14, 15)),
        ("id == 1 && id == 2", "Write `and` instead of `&&`.", (8, 10)),
        ("eval.accuracy >", "Expected a name or a value at character 16, found the end.", (15, 16)),
        ("(id == 1", "Expected `)` at character 9", (8, 9)),
        ("id == 1 id == 2", "Expected `and`, `or`, or the end at character 9", (8, 10)),
        ("0 < id < 3", "A comparison has two sides", (7, 8)),
        ("status == done", "texts stand in quotes", (10, 14)),
        ("status == 'don'", "No run is 'don'", (0, 6)),
        ("name ~ '('", "is no expression", (0, 4)),
        ("model == 'cnn", "A text begins here and has no end", (9, 13)),
        ("archived > true", "`true` is compared by `==` and `!=` alone", (0, 8)),
        ("name < 3", "'name' is compared with a 'text'", (0, 4)),
        ("started > 'soon'", "'soon' is no date", (0, 7)),
        ("eval.accuracy == 'high'", "is a number", (0, 13)),
        ("tags > 'a'", "`'old' in tags`", (0, 4)),
        ("3 in tags", "Only a 'text' can be in something", (0, 1)),
        ("id == 1 ; id == 2", "Unexpected ';'", (8, 9)),
        ("__import__('os') == 1", "Expected <", (10, 11)),
    ],
)  # fmt: skip
def test_a_mistake_in_a_filter_is_shown_where_it_is(registry, where, problem, marked):
    with pytest.raises(kd.tracking.FilterError) as error:
        registry.runs(where)
    message, line, marks = str(error.value).split("\n")
    assert problem.lower() in message.lower()
    assert line == f"  {where}"
    start, end = marked
    assert marks == "  " + " " * start + "^" * (end - start)


def test_filters_that_are_empty_or_too_deep_are_refused(registry):
    with pytest.raises(kd.tracking.FilterError, match="is empty"):
        registry.runs("  ")
    with pytest.raises(kd.tracking.FilterError, match="More than 50"):
        registry.runs("(" * 60 + "id == 1" + ")" * 60)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        # What has no value, or none that is a number, comes last both ways.
        ("eval.accuracy", "201"),
        ("-eval.accuracy", "021"),
        ("-eval.total", "012"),
        ("optimizer.rate", "102"),
        ("-optimizer.rate", "012"),
        ("optimizer.nesterov,-id", "102"),
        ("-family,-id", "021"),
        ("tags,id", "021"),
        ("-started", "210"),
    ],
)
def test_runs_are_sorted_and_those_without_a_value_come_last(registry, sort, order):
    runs = registry.runs(sort=sort, archived=True)
    assert "".join(run.name[1:] for run in runs) == order


def test_a_mistake_in_an_order_is_named(registry):
    with pytest.raises(kd.tracking.FilterError, match=r"Did you mean 'eval.total'\?"):
        registry.runs(sort="-eval.totl")
    with pytest.raises(kd.tracking.FilterError, match="a name is missing"):
        registry.runs(sort="id,,name")


def test_runs_are_limited_to_a_project_an_experiment_a_number(registry):
    assert [run.name for run in registry.runs(experiment="wide")] == ["r0"]
    assert [run.name for run in registry.runs(project="default", limit=1)] == ["r0"]
    with pytest.raises(kd.tracking.RegistryError, match=r"Did you mean 'wide'\?"):
        registry.runs(experiment="wied")


def test_without_runs_every_filter_finds_nothing(tmp_path):
    registry = kd.tracking.Registry.open(tmp_path / "registry.db")
    assert registry.runs("eval.accuracy > 0.9", sort="-eval.accuracy") == []
