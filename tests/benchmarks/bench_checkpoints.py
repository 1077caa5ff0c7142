"""How long a save keeps the loop waiting, and a restore, against Orbax called directly.

make bench

What a save costs the loop is not only the call: the step after it cannot write into the
memory that is being saved. Both are measured, by the clock; other programs on the machine
make it longer, so that processor time is said beside it: that of the calling thread.
"""

from __future__ import annotations

import time

import jax
import orbax.checkpoint as ocp
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

_NUM_ROUNDS, _NUM_WARMUP = 9, 2  # the first saves import Orbax and set threads up
_CALL, _BOTH = "the call", "the call, and what the next step takes longer"
_BUDGETS = {_CALL: 0.5, _BOTH: None}


def _state(num_mb, num_arrays):
    keys = jax.random.split(jax.random.key(0), num_arrays)
    shape = ((num_mb << 18) // num_arrays,)
    return {f"w{i}": jax.random.normal(k, shape) for i, k in enumerate(keys)}


@jax.jit
def _double(state):
    return jax.tree.map(lambda x: 2 * x, state)


_step = jax.jit(lambda state: jax.tree.map(lambda x: -x, state), donate_argnums=0)


class _Contestant:
    """Saves a state between two steps; remembers what it took."""

    def __init__(self, state, save, wait, restore):
        self.state, self.restore = state, restore
        self._save, self._wait = save, wait
        self.secs: dict[str, list[clocks.Secs]] = {what: [] for what in _BUDGETS}

    def round(self, step):
        for _ in range(3):
            usual = self._timed(self._run_step)
        call = self._timed(lambda: self._save(self.state, step))
        after = self._timed(self._run_step)
        self._wait()
        both = (c + a - u for c, a, u in zip(call, after, usual, strict=True))
        self.secs[_CALL].append(call)
        self.secs[_BOTH].append(clocks.Secs(*both))

    def _run_step(self):
        self.state = jax.block_until_ready(_step(self.state))

    def _timed(self, run):
        start, thread = time.perf_counter(), time.thread_time()
        run()
        return clocks.Secs(time.perf_counter() - start, time.thread_time() - thread)


def _orbax(state, folder):
    manager = ocp.CheckpointManager(
        folder, options=ocp.CheckpointManagerOptions(max_to_keep=1)
    )
    return _Contestant(
        state,
        lambda state, step: manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state))
        ),
        manager.wait_until_finished,
        lambda spec: manager.restore(
            manager.latest_step(),
            args=ocp.args.Composite(state=ocp.args.StandardRestore(spec)),
        )["state"],
    )


def _ours(state, folder):
    checkpointer = kd.ckpts.Checkpointer(
        workdir=folder, save_interval_steps=1, max_to_keep=1
    )
    return _Contestant(
        state,
        lambda state, step: checkpointer.save(state, step=step),
        checkpointer.wait_until_finished,
        checkpointer.restore,
    )


@pytest.mark.parametrize(("num_mb", "num_arrays"), [(64, 16), (1024, 64)])
def test_save_and_restore_against_orbax(tmp_path, figures, num_mb, num_arrays):
    first = _state(num_mb, num_arrays)
    contestants = {
        "orbax": _orbax(_double(first), tmp_path / "orbax"),
        "ours": _ours(first, tmp_path / "ours"),
    }
    for step in range(_NUM_ROUNDS + _NUM_WARMUP):
        for name in sorted(contestants, reverse=bool(step % 2)):
            contestants[name].round(step)
    size = f"{num_mb} MB in {num_arrays} arrays"

    def compare(what, ours, orbax, budget):
        ms = 1e3 * clocks.medians(orbax).wall
        against = f"Orbax ({ms:.3g} ms)"
        figures.ratio(f"{size}: {what}", ours, orbax, against=against, budget=budget)

    for what, budget in _BUDGETS.items():
        of = {name: c.secs[what][_NUM_WARMUP:] for name, c in contestants.items()}
        compare(f"a save, {what}", of["ours"], of["orbax"], budget)
    spec = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), first
    )
    for contestant in contestants.values():
        contestant.state = None
    del first
    restored = clocks.in_turn(
        {
            name: clocks.timed(lambda r=c.restore: jax.block_until_ready(r(spec)))
            for name, c in contestants.items()
        },
        num_rounds=_NUM_ROUNDS,
    )
    compare("a restore", restored["ours"], restored["orbax"], 1.0)
