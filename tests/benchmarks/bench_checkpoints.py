"""How long a save keeps the loop waiting, and a restore, against Orbax called directly.

make bench

What a save costs the loop is not only the call: the step after it cannot write into the
memory that is being saved. Both are measured, by the clock; other programs on the machine
make it longer, so each is said beside the processor time of the calling thread.
"""

from __future__ import annotations

import statistics
import time

import jax
import orbax.checkpoint as ocp
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

_NUM_ROUNDS, _NUM_WARMUP = 9, 2  # the first saves import Orbax and set threads up
_MAX_BLOCKING, _MAX_RESTORE = 0.5, 1.0


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
        self.times: dict[str, list[float]] = {}

    def round(self, step):
        for _ in range(3):
            self.state, usual = self._timed_step()
        start, thread = time.perf_counter(), time.thread_time()
        self._save(self.state, step)
        call, thread = time.perf_counter() - start, time.thread_time() - thread
        self.state, after = self._timed_step()
        self._wait()
        for name, secs in {
            "call": call,
            "processor time of the call": thread,
            "call, and what the next step takes longer": call + after - usual,
        }.items():
            self.times.setdefault(name, []).append(1e3 * secs)

    def _timed_step(self):
        start = time.perf_counter()
        state = jax.block_until_ready(_step(self.state))
        return state, time.perf_counter() - start


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
def test_save_and_restore_against_orbax(tmp_path, num_mb, num_arrays):
    first = _state(num_mb, num_arrays)
    contestants = {
        "orbax": _orbax(_double(first), tmp_path / "orbax"),
        "ours": _ours(first, tmp_path / "ours"),
    }
    for step in range(_NUM_ROUNDS + _NUM_WARMUP):
        for name in sorted(contestants, reverse=bool(step % 2)):
            contestants[name].round(step)
    print(f"\n{num_mb} MB in {num_arrays} arrays, medians of {_NUM_ROUNDS} rounds")
    ratios = {}
    for what in contestants["ours"].times:
        of = {name: c.times[what][_NUM_WARMUP:] for name, c in contestants.items()}
        ratios[what] = _compare(f"a save: {what}", of["ours"], of["orbax"], "ms")
    spec = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), first
    )
    for contestant in contestants.values():
        contestant.state = None
    del first
    secs: dict[str, list[list[float]]] = {name: [] for name in contestants}
    for round_ in range(_NUM_ROUNDS):
        for name in sorted(contestants, reverse=bool(round_ % 2)):
            restore = contestants[name].restore
            took = clocks.measured(lambda r=restore: jax.block_until_ready(r(spec)))[1]
            secs[name].append(took)
    for i, what in enumerate(("by the clock", "processor time")):
        ours, orbax = ([1e3 * s[i] for s in secs[name]] for name in ("ours", "orbax"))
        ratios[what] = _compare(f"a restore, {what}", ours, orbax, "ms")
    assert ratios["call"] <= _MAX_BLOCKING
    assert ratios["by the clock"] <= _MAX_RESTORE


def _compare(what, ours, orbax, unit):
    a, b = statistics.median(ours), statistics.median(orbax)
    single = [x / y for x, y in zip(ours, orbax, strict=True)]
    print(
        f"{what}: {a:.1f} {unit}, Orbax {b:.1f} {unit}: {a / b:.2f} x "
        f"({min(single):.2f} to {max(single):.2f} over single rounds)"
    )
    return a / b
