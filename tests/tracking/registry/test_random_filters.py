"""Filters and orders that chance has written, against their meaning in plain Python."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from kauldron import kd
from tests.tracking.registry import made_runs

_WORDS = ("cnn", "mlp", "vit")
_TAGS = ("good", "old", "new")
_OPERATORS = ("<", "<=", ">", ">=", "==", "!=")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random_filters")
    return filled(folder, folder / "registry.db")


def filled(folder, place):
    """Returns a registry of sixty runs; each lacks something of what others have."""
    rng = random.Random(1)
    for i in range(60):
        model = {"width": rng.choice((8, 16, 0.5)), "kind": rng.choice(_WORDS)}
        model["flag"] = rng.random() < 0.5
        if rng.random() < 0.3:
            model["width"] = "auto"
        if rng.random() < 0.3:
            del model["flag"]
        curve = [rng.choice((0.25, 0.5, 0.75, "NaN")) for _ in range(rng.randint(0, 3))]
        made_runs.make(
            folder / "runs" / f"r{i}",
            config={"model": model},
            curve=curve,
            state=rng.choice(("done", "failed")),
            started=1_800_000_000.0 + rng.randint(0, 5),
        )
    registry = kd.tracking.Registry.open(place)
    registry.index(folder)
    for run in registry.runs():
        tags = rng.sample(_TAGS, rng.randint(0, 2))
        groups = {"family": "nets"} if rng.random() < 0.3 else {}
        registry.change(run, add_tags=tags, archived=rng.random() < 0.2, **groups)
    return registry


@dataclasses.dataclass
class _Part:
    """A part of a filter: as it is written, and what it means."""

    text: str
    holds: Callable[[kd.tracking.Run], Any]


def _numbers_of(run, name):
    """Returns what a name that stands for a number is in a run; `None`: nothing."""
    if name == "id":
        return float(run.id.removeprefix("run_"))
    if name in ("step", "started"):
        return float(getattr(run, name))
    if name.startswith("eval."):
        metric, part = name.removesuffix(".best"), name.endswith(".best")
        if (value := run.metrics.get(metric)) is None:
            return None
        number = value.best if part else value.last
        return None if math.isnan(number) else number
    value = run.parameters.get(name)
    return None if value is None or isinstance(value, str) else float(value)


def _text_of(run, name):
    if name in ("name", "status", "family"):
        return getattr(run, name)
    value = run.parameters.get(name)
    return value if isinstance(value, str) else None


def _compare(left, operator, right):
    if left is None:  # what is not there compares with nothing
        return False
    return {
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
        "==": left == right,
        "!=": left != right,
    }[operator]


def _leaf(rng):
    kind = rng.randrange(7)
    if kind <= 1:
        names = ("id", "step", "eval.accuracy", "eval.accuracy.best", "model.width")
        name, operator = rng.choice(names), rng.choice(_OPERATORS)
        number = rng.choice((0.25, 0.5, 0.6, 8.0, 30.0, 100.0))
        text = f"{name} {operator} {number}"
        return _Part(
            text, lambda run: _compare(_numbers_of(run, name), operator, number)
        )
    if kind == 2:
        name, operator = (
            rng.choice(("model.kind", "name", "model.width")),
            rng.choice(_OPERATORS),
        )
        word = rng.choice((*_WORDS, "auto", "r3"))
        text = f"'{word}' {operator} {name}"
        turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(operator, operator)
        return _Part(text, lambda run: _compare(_text_of(run, name), turned, word))
    if kind == 3:
        tag = rng.choice(_TAGS)
        return _Part(f"'{tag}' in tags", lambda run: tag in run.tags)
    if kind == 4:
        name = rng.choice(("model.flag", "eval.accuracy", "model.width"))

        def has(run):
            return name in (run.metrics if name == "eval.accuracy" else run.parameters)

        if rng.random() < 0.5:
            return _Part(f"{name} != none", has)
        return _Part(f"{name} == none", lambda run: not has(run))
    if kind == 5:
        pattern = rng.choice(("^r1", "n", "[lv]i?t?"))
        name = rng.choice(("name", "model.kind"))
        return _Part(
            f"{name} ~ '{pattern}'",
            lambda run: re.search(pattern, str(_text_of(run, name))),
        )
    words = rng.sample(("nets", "", "other"), 2)
    listed = ", ".join(f"'{word}'" for word in words)
    return _Part(f"family in ({listed})", lambda run: run.family in words)


def _filter(rng, depth=0):
    kind = rng.randrange(4) if depth < 4 else 3
    if kind == 3:
        return _leaf(rng)
    inner = _filter(rng, depth + 1)
    if kind == 2:
        return _Part(f"not ({inner.text})", lambda run: not inner.holds(run))
    other = _filter(rng, depth + 1)
    if kind == 1:
        text = f"({inner.text}) or ({other.text})"
        return _Part(text, lambda run: inner.holds(run) or other.holds(run))
    text = f"({inner.text}) and ({other.text})"
    return _Part(text, lambda run: inner.holds(run) and other.holds(run))


def _order(rng):
    names = ("eval.accuracy", "eval.accuracy.best", "model.width", "started", "-id")
    return [
        name if name[0] == "-" or rng.random() < 0.5 else f"-{name}"
        for name in rng.sample(names, rng.randint(1, 3))
    ]


def _keys(run, order):
    """Returns what Python sorts by: of each name whether it is missing, and its value."""
    keys = []
    for word in order:
        name, sign = word.removeprefix("-"), -1 if word[0] == "-" else 1
        number = _numbers_of(run, name)
        keys += [number is None, 0.0 if number is None else sign * number]
    return [*keys, run.id]


@pytest.mark.parametrize("seed", range(200))
def test_a_filter_and_an_order_mean_what_they_say(registry, seed):
    check_meaning(registry, seed)


def check_meaning(registry, seed):
    """Compares what a registry finds with what Python does, of one filter and order."""
    rng = random.Random(seed)
    part, order = _filter(rng), _order(rng)
    everything = registry.runs(archived=True)
    expected = sorted(filter(part.holds, everything), key=lambda run: _keys(run, order))
    found = registry.runs(part.text, sort=",".join(order), archived=True)
    assert [run.id for run in found] == [run.id for run in expected], part.text
    limit = rng.randint(1, 70)
    some = registry.runs(part.text, sort=",".join(order), limit=limit)
    kept = [run.id for run in expected if not run.archived]
    assert [run.id for run in some] == kept[:limit], part.text
