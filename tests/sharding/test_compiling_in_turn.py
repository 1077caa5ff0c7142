"""Of processes on one machine, the first compiles, and the others load what it has."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kauldron.sharding import _compiling_in_turn, _roll_call
from tests.train import processes as processes_lib

_PROGRAM = """
import collections, json, sys

import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kauldron import sharding
from kauldron._base import processes
from kauldron.step import shared_programs

workdir, num, index, port, cache = sys.argv[1:]
jax.config.update("jax_compilation_cache_dir", cache or None)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
compiled = collections.Counter()
jax.monitoring.register_event_duration_secs_listener(
    lambda event, secs, fun_name="", **kwargs: compiled.update([fun_name])
    if event == "/jax/core/compile/backend_compile_duration" else None
)
place = processes.Place(f"localhost:{port}", int(index), int(num))
with sharding.joined_processes(place, timeout_secs=60, workdir=workdir):
    mesh = jax.make_mesh((4,), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))

    def put(x):
        return jax.make_array_from_callback(x.shape, rows, lambda i: x[i])

    def same(x):
        return jnp.tanh(x) / 3, x.sum()

    def with_own_constant(x):
        return x + np.float32(2 + int(index)), x.sum()

    def with_python(x):
        y = jax.pure_callback(lambda x: x + 1, jax.ShapeDtypeStruct((), x.dtype), x.sum())
        return x + y, y

    results = {}
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    for function in (same, with_own_constant, with_python):
        run = shared_programs.SharedJit(function, donate_argnums=(0,))
        for scale in (1, 2):
            given = put(x * scale)
            y, total = run(given)
        mine = [np.asarray(s.data)[0].tolist() for s in y.addressable_shards]
        results[function.__name__] = {
            "rows": mine,
            "total": float(total),
            "num_compiled": compiled[f"jit_{function.__name__}"]
            + compiled[f"jit({function.__name__})"],
            "donated": given.is_deleted(),
        }
    # The same shapes, with every row everywhere: for that, a program is compiled.
    run = shared_programs.SharedJit(same)
    run(put(x))
    y, total = run(jax.device_put(x, NamedSharding(mesh, PartitionSpec())))
    results["placed elsewhere"] = {"total": float(total), "shape": y.shape}
    print("RESULTS", json.dumps(results))
"""


def _results(tmp_path, cache):
    with processes_lib.start(_PROGRAM, tmp_path / "run", 2, cache) as processes:
        logs = processes.finish(120)
    lines = [
        next(x for x in log.splitlines() if x.startswith("RESULTS")) for log in logs
    ]
    return [json.loads(line.removeprefix("RESULTS ")) for line in lines]


X = np.arange(8, dtype=np.float32).reshape(4, 2) * 2  # the second call


def _check_numbers(found):
    for index, results in enumerate(found):
        mine = X[2 * index : 2 * index + 2]
        same, own = results["same"], results["with_own_constant"]
        np.testing.assert_allclose(same["rows"], np.tanh(mine) / 3, rtol=1e-6)
        assert same["total"] == own["total"] == X.sum()
        np.testing.assert_array_equal(own["rows"], mine + 2 + index)
        np.testing.assert_array_equal(results["with_python"]["rows"], mine + 57)
        assert results["placed elsewhere"] == {"total": X.sum() / 2, "shape": [4, 2]}


def test_a_program_is_compiled_once_unless_processes_differ(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    first, second = found = _results(tmp_path, str(cache))
    _check_numbers(found)
    assert first["same"]["num_compiled"] == 1
    assert second["same"]["num_compiled"] == 0
    assert first["same"]["donated"]
    assert second["same"]["donated"]
    for name in ("with_own_constant", "with_python"):
        assert [x[name]["num_compiled"] for x in found] == [1, 1]
    again = _results(tmp_path, str(cache))  # the first one finds it in the cache
    _check_numbers(again)
    left = [path.name for path in cache.iterdir() if not path.name.endswith("-cache")]
    assert not left
    assert not (tmp_path / "run").exists()


def test_without_a_compilation_cache_each_compiles(tmp_path):
    found = _results(tmp_path, "")
    _check_numbers(found)
    assert [x["same"]["num_compiled"] for x in found] == [1, 1]


class _Never:
    """A jitted function that must not be compiled here."""

    def lower(self, *args):
        raise AssertionError


def _turns(workdir, index):
    return _roll_call.present(_roll_call.Expected("a:1", index, 2), workdir)


def test_nobody_waits_for_a_process_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(_compiling_in_turn, "_cache_folder", lambda: tmp_path)
    with _turns(tmp_path / "run", 1) as second, _compiling_in_turn.using(second):
        never = _Never()
        assert _compiling_in_turn.compile_in_turn(never, (), None) is never


@pytest.mark.parametrize("what", ["begun", "done"])
def test_a_process_waits_for_the_first_as_long_as_that_is_there(tmp_path, what):
    with _turns(tmp_path / "run", 1) as second:
        turns = _compiling_in_turn._Turns(second)
        with _turns(tmp_path / "run", 0) as first:
            first.tell("1_begun")
            assert second.is_with_first()
            assert not turns._until("1_done", 0.0)
            first.tell("1_done")
            assert turns._wait("1")
            first.tell(f"2_{what}")
        assert not second.is_with_first()
        assert not turns._wait("2")


def test_a_process_alone_gets_its_function():
    never = _Never()
    assert _compiling_in_turn.compile_in_turn(never, (), None) is never
