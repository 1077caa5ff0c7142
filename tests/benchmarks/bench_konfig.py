"""What building, showing, saving and resolving configs costs, and how it grows.

make bench
"""

from __future__ import annotations

import copy
import gc
import json
import subprocess
import sys
import time
import timeit

import pytest

from kauldron import konfig
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

_SIZES = (200, 2_000, 20_000)


class Leaf:
    """A constructor that costs next to nothing."""

    __slots__ = ()

    def __init__(self, *, rate: float, width: int, name: str = "leaf"):
        pass


def build(num_nodes: int) -> konfig.ConfigDict:
    """Returns a config of nested groups of ten calls with references."""
    qualname = f"{__name__}:Leaf"
    cfg = konfig.ConfigDict({"width": 3})
    for i in range(num_nodes // 10):
        group = cfg[f"group_{i}"] = {}
        del group
        for j in range(9):
            cfg[f"group_{i}"][f"leaf_{j}"] = {
                "__qualname__": qualname,
                "rate": 0.1 * j,
                "width": cfg.ref.width,
            }
    return cfg


def _seconds(function, repeat: int = 5) -> float:
    """The best of a few runs, without the garbage collector, which is not linear."""
    gc.collect()
    return min(timeit.repeat(function, number=1, repeat=repeat))


def _operations(num_nodes: int) -> dict[str, float]:
    cfg = build(num_nodes)
    text = cfg.to_json()
    return {
        "build": _seconds(lambda: build(num_nodes)),
        "deepcopy": _seconds(lambda: copy.deepcopy(cfg)),
        "repr": _seconds(lambda: repr(cfg)),
        "to_json": _seconds(cfg.to_json),
        "from_json": _seconds(lambda: konfig.ConfigDict(json.loads(text))),
        "to_python": _seconds(lambda: konfig.to_python(cfg)),
        "check": _seconds(lambda: konfig.check(cfg)),
        "resolve": _seconds(lambda: konfig.resolve(cfg)),
    }


def test_all_operations_are_linear():
    times = {size: _operations(size) for size in _SIZES}
    for name in times[_SIZES[0]]:
        row = [times[size][name] for size in _SIZES]
        print(f"{name:10}", *(f"{seconds * 1e3:9.1f} ms" for seconds in row))
        # Ten times the nodes; 100 would be quadratic. They no longer fit the caches.
        assert row[2] <= 30 * row[1], f"{name} grows faster than the config"


@pytest.mark.parametrize(("num_nodes", "budget_ms"), [(2_000, 50), (5_000, 60)])
def test_resolving_many_nodes(figures, num_nodes, budget_ms):
    cfg, num_leaves = build(num_nodes), num_nodes * 9 // 10

    def construct():
        return [Leaf(rate=0.1, width=3) for _ in range(num_leaves)]

    gc.collect()
    secs = clocks.in_turn(
        {
            "resolve": clocks.timed(lambda: konfig.resolve(cfg)),
            "construct": clocks.timed(construct),
        }
    )
    pairs = zip(secs["resolve"], secs["construct"], strict=True)
    figures.number(
        f"resolving {num_nodes:,} config nodes, beyond the constructors, processor time",
        [(a.processor - b.processor) * 1e3 for a, b in pairs],
        "ms",
        budget=budget_ms,
    )


def _import_seconds(code: str) -> float:
    """The best of a few processes, so that other work on the machine counts less."""
    timed = (
        f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
    )
    times = []
    for _ in range(15):
        command = [sys.executable, "-c", timed]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        times.append(float(done.stdout))
    return min(times)


def test_importing_konfig_is_light():
    ours = _import_seconds("from kauldron import konfig, kontext")
    theirs = _import_seconds("import ml_collections")
    print(
        f"konfig, kontext: {ours * 1e3:.0f} ms; ml_collections: {theirs * 1e3:.0f} ms"
    )
    assert ours <= 2 * theirs


def test_showing_an_example_is_fast():
    code = (
        "from kauldron import konfig\n"
        "repr(konfig.load_config_file('examples/digits_classifier.py', "
        "overrides={'num_train_steps': 5}))"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    cost = time.perf_counter() - start
    print(f"load and print an example, whole process: {cost:.2f} s")
    assert cost <= 1.0


@pytest.mark.parametrize("args", [["--help"], ["run", "check", "--help"]])
def test_help_starts_in_a_blink(args):
    command = [sys.executable, "-m", "kauldron.cli.main", *args]
    seconds = _seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    print(f"\n{' '.join(args)}: {seconds:.2f} s")
    assert seconds <= 0.3
