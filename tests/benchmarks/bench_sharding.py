"""What placement by rules costs: on one device, and with many arrays on one and on eight.

make bench
"""

from __future__ import annotations

import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from kauldron import kd
from tests.benchmarks import clocks, loops, small_models

pytestmark = pytest.mark.bench

_NUM_STEPS = 10


class _Steps:
    """Steps of a trainer, one after the other."""

    def __init__(self, model, sharding):
        self.trainer = loops.make_trainer(
            None,
            small_models.points(),
            model=model,
            optimizer=optax.sgd(1e-3),
            sharding=sharding,
        )
        batch = next(iter(self.trainer.train_ds))
        self._batch = kd.sharding.device_put(batch, self.trainer.sharding.batch)
        self._state = self.trainer.init_state()

    def secs(self):
        """Seconds of a step."""
        start = clocks.now()
        for _ in range(_NUM_STEPS):
            self._state, _ = self.trainer.trainstep.step(self._state, self._batch)
        jax.block_until_ready(self._state.step)
        return clocks.since(start).per(_NUM_STEPS)


@pytest.mark.skipif(jax.device_count() > 1, reason="is about one device")
@pytest.mark.parametrize("mesh", ["fsdp", "fsdp,sequence=1", "fsdp,stage=1"])
def test_mesh_of_one_device(figures, mesh):
    encoder = kd.nn.VitEncoder.from_spec(4, 32, 4, (4, 4), scan=True)

    class Images(nn.Module):
        x: kd.kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            images = jnp.broadcast_to(x[:, :16, None, None], (len(x), 16, 16, 1))
            return kd.nn.Vit(encoder=encoder, num_classes=10, image="i")(images)

    plain = _Steps(Images(), kd.sharding.ShardingStrategy())
    meshed = _Steps(Images(), mesh)
    secs = clocks.in_turn({"plain": plain.secs, "meshed": meshed.secs}, 11, 3)
    assert meshed.trainer.trainstep._jitted_step._cache_size() == 1
    plain_ms = clocks.medians(secs["plain"]).wall * 1e3
    figures.ratio(
        f"sharding {mesh!r} on one device",
        secs["meshed"],
        secs["plain"],
        against=f"without ({plain_ms:.2g} ms a step)",
        budget=1.01,
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("num_leaves", "num_devices"),
    [(10, 1), (100, 1), (1_000, 1), (10_000, 1), (10_000, 8)],
)
def test_step_of_many_arrays(figures, num_leaves, num_devices):
    arguments = [str(num_leaves), str(num_devices)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.many_leaves", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    ours, by_hand = (
        [clocks.Secs(*x) for x in found[name]] for name in ("ours", "by hand")
    )
    each = clocks.medians(ours).processor / num_leaves * 1e6
    where = "one device" if num_devices == 1 else f"{num_devices} simulated devices"
    figures.ratio(
        f"step of {num_leaves:,} arrays on {where}",
        ours,
        by_hand,
        against=f"`jax.jit` with the same placement (ours {each:.2f} µs an array)",
        budget=1.1,
    )
