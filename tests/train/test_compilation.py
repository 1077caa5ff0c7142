"""Compilation: kept between runs, and told when it happens without need."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from kauldron import kd
from kauldron.train import _compilation_cache, _recompilation
from tests.train import small_run

ROOT = pathlib.Path(__file__).parents[2]


class _OddBatch(kd.data.Pipeline):
    """Batches of 16 examples, but one of 8."""

    is_endless = True
    batch_size: int = 16

    @property
    def element_spec(self):
        return {
            "x": jax.ShapeDtypeStruct((16, 3), np.float32),
            "label": jax.ShapeDtypeStruct((16, 1), np.int32),
        }

    def __iter__(self):
        return _OddIterator()


class _OddIterator:
    def __init__(self):
        self._step = -1

    def __next__(self):
        self._step += 1
        n = 8 if self._step in (3, 5) else 16
        return {"x": np.ones((n, 3), np.float32), "label": np.ones((n, 1), np.int32)}

    def get_state(self):
        return self._step

    def close(self):
        pass


def test_recompilation_names_what_changed_and_new_kinds_of_steps_do_not_count(
    tmp_path, capfd
):
    small_run.make_trainer(
        tmp_path,
        train_ds=_OddBatch(),
        num_train_steps=6,
        log_metrics_every=2,
        train_summaries={},
    ).train()
    warnings = [s for s in capfd.readouterr().err.splitlines() if "again" in s]
    # Steps 0 and 1 compile (with and without measurements): no word about that. Step 5
    # is of a kind and a shape that was compiled at step 3.
    assert warnings == [
        "Warning: the step was compiled again: batch.label: i32[16 1] -> i32[8 1], "
        "batch.x: f32[16 3] -> f32[8 3]"
    ]


def test_changed_dtype_is_told_and_the_first_call_of_a_kind_is_not(capfd):
    class Step:
        _jitted_step = jax.jit(lambda x: x + 1)

    watch = _recompilation.RecompilationWatch(Step())
    for kind, x in [("a", 1.0), ("b", 2.0), ("a", 3.0), ("a", 4)]:
        x = np.full(3, x, np.float32 if isinstance(x, float) else np.int32)
        Step._jitted_step(x)
        watch.called(kind, batch={"x": x})
    assert not watch.is_new("a") and not watch.is_new("b")
    assert capfd.readouterr().err == (
        "Warning: the step was compiled again: batch.x: f32[3] -> i32[3]\n"
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("abcd", "abcd", "x.a: f32[] -> i32[], x.b: f32[] -> i32[], "
         "x.c: f32[] -> i32[], x.d: f32[] -> i32[]"),
        ("abcdef", "abcdef", "x.a: f32[] -> i32[], x.b: f32[] -> i32[], "
         "x.c: f32[] -> i32[], x.d: f32[] -> i32[], and 2 more"),
        ("a", "b", "x.a: f32[] -> absent, x.b: absent -> i32[]"),
    ],
)  # fmt: skip
def test_up_to_four_arguments_that_have_changed_are_named(
    capfd, before, after, expected
):
    watch = _recompilation.RecompilationWatch(_Compiles())
    watch.called("a", x={name: np.float32(1) for name in before})
    watch.called("a", x={name: np.int32(1) for name in after})
    assert capfd.readouterr().err == (
        f"Warning: the step was compiled again: {expected}\n"
    )


class _Compiles:
    """A step that is compiled at each call."""

    def __init__(self):
        sizes = iter(range(1, 100))
        self._jitted_step = types.SimpleNamespace(_cache_size=lambda: next(sizes))


def test_number_of_python_that_becomes_an_array_is_told(capfd):
    watch = _recompilation.RecompilationWatch(_Compiles())
    watch.called("a", x=jnp.asarray(1.0))
    watch.called("a", x=jnp.float32(1))
    watch.called("a", x=jnp.asarray(2.0))
    assert capfd.readouterr().err.splitlines() == [
        "Warning: the step was compiled again: x: f32[] (weak type) -> f32[]",
        "Warning: the step was compiled again: x: f32[] -> f32[] (weak type)",
    ]


_PROGRAM = """
import sys
from tests.train import small_run
from kauldron import kd
import jax
assert jax.config.jax_compilation_cache_dir == {before!r}
state, _ = small_run.make_trainer(sys.argv[1], num_train_steps=3).train()
assert jax.config.jax_compilation_cache_dir == {before!r}
print(small_run.state_hash(state))
"""


def _run(tmp_path, workdir, before=None, **env):
    names = ("KAULDRON_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")
    clean = {k: v for k, v in os.environ.items() if k not in names}
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(before=before), str(tmp_path / workdir)],
        env={**clean, **cache, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    [line] = [
        s
        for s in result.stderr.splitlines()
        if s.startswith("Compiled the first step in")
    ]
    return result.stdout, line


@pytest.mark.slow
def test_second_run_reads_what_the_first_has_compiled_and_computes_the_same_bits(
    tmp_path,
):
    directory = tmp_path / "cache/kauldron/jax-cache"
    off, line = _run(tmp_path, "off", KAULDRON_COMPILATION_CACHE="0")
    assert "program" not in line
    assert not directory.exists()
    cold, line = _run(tmp_path, "cold")
    assert "; 0 of its 1 program came from " in line and f"{directory}." in line
    assert list(directory.iterdir())
    warm, line = _run(tmp_path, "warm")
    assert "; 1 of its 1 program came from " in line
    assert off == cold == warm


@pytest.fixture
def no_cache_yet(monkeypatch):
    """As for a user who has set nothing up; these tests have a cache of their own."""
    monkeypatch.delenv(_compilation_cache.SWITCH_VARIABLE)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def test_program_is_read_instead_of_compiled_a_second_time(
    tmp_path, monkeypatch, no_cache_yet
):
    monkeypatch.setattr(_compilation_cache, "_MIN_COMPILE_SECS", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x, uses = np.ones(3, np.float32), []
    for _ in range(2):
        with _compilation_cache.use(wanted=True) as cache:
            jax.jit(lambda x: jax.numpy.sin(x) * 3)(x)
        uses.append(cache.used_here())
    compiled, read = _compilation_cache.CacheUse(0, 1), _compilation_cache.CacheUse(1)
    assert uses == [compiled, read]


def test_programs_of_other_threads_are_not_those_of_the_step(
    tmp_path, monkeypatch, no_cache_yet
):
    monkeypatch.setattr(_compilation_cache, "_MIN_COMPILE_SECS", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program, uses = jax.jit(lambda x: jax.numpy.cos(x) * 5), []

    def run(size):
        program(np.ones(size, np.float32))
        uses.append(cache.used_here())

    with _compilation_cache.use(wanted=True) as cache:
        run(4)
        other = threading.Thread(target=run, args=[5])
        other.start()
        other.join()
        run(6)
    assert [use.num_misses for use in uses] == [1, 1, 2]
    assert cache.describe(uses[2] - uses[0], 1.25) == (
        f"Compiled the first step in 1.2 s; 0 of its 1 program came from "
        f"{cache.directory}."
    )


@pytest.mark.slow
def test_cache_directory_of_the_user_is_left_as_it_is(tmp_path):
    own = str(tmp_path / "own")
    _, line = _run(tmp_path, "run", before=own, JAX_COMPILATION_CACHE_DIR=own)
    assert f"came from {own}." in line
    assert not (tmp_path / "cache").exists()


def test_cache_is_off_when_asked_or_when_there_is_no_place_for_it(
    tmp_path, monkeypatch, no_cache_yet
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with _compilation_cache.use(wanted=False) as cache:
        assert cache.directory is None
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    with _compilation_cache.use(wanted=True) as cache:
        assert cache.directory is None
    assert (
        cache.describe(cache.used_here(), 1.25) == "Compiled the first step in 1.2 s."
    )


def test_entries_that_are_old_are_removed(tmp_path, monkeypatch, no_cache_yet):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = _compilation_cache.default_directory()
    directory.mkdir(parents=True)
    for name, days in (("old", 61), ("recent", 59)):
        (directory / name).write_text("")
        then = time.time() - days * 24 * 3600
        os.utime(directory / name, (then, then))
    with _compilation_cache.use(wanted=True) as use:
        assert jax.config.jax_compilation_cache_dir == use.directory == str(directory)
    assert jax.config.jax_compilation_cache_dir is None
    assert [p.name for p in directory.iterdir()] == ["recent"]


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "", "home/.cache/kauldron/jax-cache"),
        ("linux", "elsewhere", "elsewhere/kauldron/jax-cache"),
        ("darwin", "elsewhere", "home/Library/Caches/kauldron/jax-cache"),
    ],
)
def test_cache_directory_is_where_the_platform_keeps_caches(
    monkeypatch, platform, variable, expected
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", "home")
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert _compilation_cache.default_directory() == pathlib.Path(expected)
