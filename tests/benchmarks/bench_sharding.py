"""What placement by rules costs: on one device, and with 10,000 arrays on eight.

make bench; the second with eight simulated devices:
KAULDRON_TEST_DEVICES=8 pytest -n 0 -s tests/benchmarks/bench_sharding.py -m bench
"""

from __future__ import annotations

import functools
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.benchmarks import bench_loop
from tests.train import small_run

pytestmark = pytest.mark.bench

_NUM_LEAVES = 10_000
_NUM_ROUNDS, _NUM_STEPS = 11, 10


class Leaves(nn.Module):
    """Many small parameters: a step is all about handing arrays over."""

    num_leaves: int
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        def init(_):
            return {str(i): jnp.ones(8) for i in range(self.num_leaves)}

        leaves = jax.tree.leaves(self.param("leaves", init))
        total = functools.reduce(jnp.add, leaves).sum()
        return {"logits": total * x[:, :2]}


def _trainer(model, sharding):
    return small_run.make_trainer(
        None,
        train_ds=bench_loop.Constant(batch_size=64),
        eval_ds=None,
        model=model,
        optimizer=optax.sgd(1e-3),
        train_metrics={},
        sharding=sharding,
    )


def _batch(trainer):
    batch = next(iter(trainer.train_ds))
    return kd.sharding.device_put(batch, trainer.sharding.batch)


class _OfTrainer:
    """Steps of a trainer, one after the other."""

    def __init__(self, trainer):
        self.trainer, self.batch = trainer, _batch(trainer)
        self.state = trainer.init_state()

    def step(self):
        self.state, _ = self.trainer.trainstep.step(self.state, self.batch)

    def wait(self):
        jax.block_until_ready(self.state.step)


class _ByHand:
    """The same steps by `jax.jit`, with the same shardings."""

    def __init__(self, trainer):
        model, optimizer = trainer.model, trainer.optimizer
        self.batch, state = _batch(trainer), trainer.init_state()

        def loss(params, batch):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            labels = batch["label"][..., 0]
            entropy = optax.softmax_cross_entropy_with_integer_labels
            return entropy(logits, labels).mean()

        def step(step, params, opt_state, batch):
            grads = jax.grad(loss)(params, batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return step + 1, optax.apply_updates(params, updates), opt_state

        self.state = (state.step, state.params, state.opt_state)
        shardings = jax.tree.map(lambda x: x.sharding, self.state)
        self.jitted = jax.jit(step, donate_argnums=(0, 1, 2), out_shardings=shardings)

    def step(self):
        self.state = self.jitted(*self.state, self.batch)

    def wait(self):
        jax.block_until_ready(self.state[0])


def _ratios(baseline, candidate):
    """Times rounds of steps of both by turns; returns seconds a step, and ratios."""
    seconds, ratios = [], []
    for run in (baseline, candidate):
        for _ in range(3):
            run.step()
            run.wait()
    for _ in range(_NUM_ROUNDS):
        pair = []
        for run in (baseline, candidate):
            start = time.perf_counter()
            for _ in range(_NUM_STEPS):
                run.step()
                if jax.device_count() > 1:  # as the loop does with simulated devices
                    run.wait()
            run.wait()
            pair.append((time.perf_counter() - start) / _NUM_STEPS)
        seconds.append(pair[0])
        ratios.append(pair[1] / pair[0])
    return statistics.median(seconds), ratios


def _tell(name, seconds, ratios, budget):
    print(
        f"\n{name}: {seconds * 1e3:.3f} ms/step of the baseline, ratio "
        f"{statistics.median(ratios):.3f} ({np.min(ratios):.3f}..{np.max(ratios):.3f}; "
        f"budget {budget})"
    )


@pytest.mark.skipif(jax.device_count() > 1, reason="is about one device")
@pytest.mark.parametrize("mesh", ["fsdp", "fsdp,sequence=1", "fsdp,stage=1"])
def test_mesh_of_one_device(mesh):
    encoder = kd.nn.VitEncoder.from_spec(4, 32, 4, (4, 4), scan=True)

    class Images(nn.Module):
        x: kd.kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            images = jnp.broadcast_to(x[:, :16, None, None], (len(x), 16, 16, 1))
            return kd.nn.Vit(encoder=encoder, num_classes=10, image="i")(images)

    plain = _OfTrainer(_trainer(Images(), kd.sharding.ShardingStrategy()))
    meshed = _OfTrainer(_trainer(Images(), mesh))
    seconds, ratios = _ratios(plain, meshed)
    assert meshed.trainer.trainstep._jitted_step._cache_size() == 1
    _tell(f"One device, {mesh!r}", seconds, ratios, 1.01)


@pytest.mark.skipif(jax.device_count() == 1, reason="needs several devices")
def test_many_arrays_on_several_devices():
    trainer = _trainer(Leaves(_NUM_LEAVES), "fsdp")
    ours = _OfTrainer(trainer)
    seconds, ratios = _ratios(_ByHand(trainer), ours)
    assert trainer.trainstep._jitted_step._cache_size() == 1
    _tell(f"{_NUM_LEAVES:,} arrays, 8 devices", seconds, ratios, 1.1)
