"""Saves go on behind the steps, which write into the memory of the state before."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kauldron import kd
from kauldron.checkpoints import _orbax_saves
from tests import compilations

_SHAPE = (8, 40_000)


@pytest.fixture
def checkpointer(tmp_path):
    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as found:
        yield found


@jax.jit
def _bits_of(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(x)
    return x


def _next(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.vmap(lambda key: jax.random.fold_in(key, 1))(x)
    return jnp.logical_not(x) if x.dtype == bool else x + jnp.ones((), x.dtype)


_step = jax.jit(lambda state: jax.tree.map(_next, state), donate_argnums=0)


def _values(kind: str):
    numbers = np.random.default_rng(0).integers(0, 2, _SHAPE)
    if kind == "key":
        return jax.random.split(jax.random.key(3), 50_000)
    if kind == "sharded":
        mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
        spec = jax.sharding.PartitionSpec("data")
        placement = jax.sharding.NamedSharding(mesh, spec)
        return jax.device_put(numbers.astype(np.float32), placement)
    dtype = getattr(ml_dtypes, kind, None) or np.dtype(kind)
    return jnp.asarray(numbers.astype(dtype))


_DTYPES = ("float32", "bfloat16", "float8_e5m2", "int4", "bool", "complex64")


@pytest.mark.parametrize("kind", [*_DTYPES, "key", "sharded"])
def test_steps_that_reuse_the_memory_of_a_state_do_not_change_what_is_saved(
    checkpointer, kind
):
    state = {"x": _values(kind)}
    specs = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    at_step = {}
    for step in range(3):
        at_step[step] = np.array(_bits_of(state["x"]))
        checkpointer.save(state, step=step)
        for _ in range(3):
            state = _step(state)
    checkpointer.wait_until_finished()
    for step, expected in at_step.items():
        restored = checkpointer.restore(specs, step=step)
        np.testing.assert_array_equal(np.asarray(_bits_of(restored["x"])), expected)


def test_numpy_arrays_are_saved_as_they_were(checkpointer):
    values = np.zeros(_SHAPE, np.float32)
    checkpointer.save({"x": values}, step=1)
    values[:] = 1
    checkpointer.wait_until_finished()
    restored = checkpointer.restore({"x": np.empty(_SHAPE, np.float32)})
    assert not restored["x"].any()


def test_a_save_holds_its_memory_no_longer_than_it_takes(checkpointer):
    state = {"x": _values("float32")}
    checkpointer.save(state, step=1)
    state = jax.block_until_ready(_step(state))
    checkpointer.wait_until_finished()
    buffer = state["x"].unsafe_buffer_pointer()
    state = jax.block_until_ready(_step(state))
    assert state["x"].unsafe_buffer_pointer() == buffer


def test_orbax_runs_behind_the_thread_of_the_steps(checkpointer, monkeypatch):
    threads = []
    save = _orbax_saves.save

    def noted(*args, **kwargs):
        threads.append(threading.current_thread().name)
        return save(*args, **kwargs)

    monkeypatch.setattr(_orbax_saves, "save", noted)
    checkpointer.save({"x": _values("float32")}, step=1)
    checkpointer.wait_until_finished()
    assert threads == ["kauldron-save"]


@pytest.mark.timeout(120)
def test_saves_of_several_checkpointers_at_once(tmp_path):
    values = np.asarray(_values("float32"))
    with contextlib.ExitStack() as stack:
        checkpointers = [
            stack.enter_context(
                kd.ckpts.Checkpointer(
                    workdir=tmp_path / str(number), save_interval_steps=1
                )
            )
            for number in range(4)
        ]
        for step in range(3):
            for number, checkpointer in enumerate(checkpointers):
                x = jnp.asarray(values + number + 10 * step)
                checkpointer.save({"x": x}, step=step)
        for number, checkpointer in enumerate(checkpointers):
            checkpointer.wait_until_finished()
            for step in range(3):
                restored = checkpointer.restore({"x": x}, step=step)
                x = restored["x"]
                np.testing.assert_array_equal(x, values + number + 10 * step)


_PROGRAM = """
import sys
import jax.numpy as jnp
from kauldron import kd

checkpointer = kd.ckpts.Checkpointer(workdir=sys.argv[1], save_interval_steps=1)
checkpointer.save({"x": jnp.arange(1000)}, step=1)
"""


def test_a_program_that_ends_without_waiting_completes_its_save(tmp_path):
    root = str(pathlib.Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (result.returncode, result.stderr) == (0, "")
    restored = kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1).restore(
        {"x": jnp.zeros(1000, jnp.int32)}
    )
    np.testing.assert_array_equal(restored["x"], np.arange(1000))


def test_a_save_compiles_nothing_for_small_arrays_that_all_devices_hold(tmp_path):
    mesh = jax.make_mesh((8,), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.P())
    values = {str(n): np.arange(16 * n, dtype=np.float32) for n in range(1, 5)}
    params = jax.device_put(values, everywhere)
    with (
        compilations.counted() as found,
        kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as saving,
    ):
        saving.save({"params": params}, step=1)
    assert found == []
    loaded = kd.ckpts.load_arrays(tmp_path, nested=True)
    jax.tree.map(np.testing.assert_array_equal, loaded, {"params": values})
