"""What a `NanGuard` costs per step, against the same run without one.

make bench
"""

from __future__ import annotations

import statistics
import time

import flax.linen as nn
import jax
import optax
import pytest

from kauldron import kd
from tests.benchmarks import bench_loop
from tests.train import small_run

pytestmark = pytest.mark.bench

NUM_STEPS = 60


class Wide(nn.Module):
    """A million parameters: with a small batch, a step mostly moves them."""

    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = nn.relu(nn.Dense(512)(inputs))
        for _ in range(4):
            x = nn.relu(nn.Dense(512)(x))
        return {"logits": nn.Dense(10)(x)}


class Convolutions(nn.Module):
    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = inputs[:, :, None, None] * inputs[:, None, :, None]
        for num_features, stride in ((16, 1), (32, 2), (64, 2)):
            x = nn.relu(nn.Conv(num_features, (3, 3), strides=stride)(x))
        return {"logits": nn.Dense(10)(x.mean((1, 2)))}


class Transformer(nn.Module):
    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = nn.Dense(96)(inputs[..., None])
        for _ in range(2):
            x += nn.SelfAttention(num_heads=4)(nn.LayerNorm()(x))
            x += nn.Dense(96)(nn.relu(nn.Dense(192)(nn.LayerNorm()(x))))
        return {"logits": nn.Dense(10)(x.mean(1))}


def _run(workdir, model, batch_size, nan_guard):
    times = {}

    class Timed(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            jax.block_until_ready(state)
            times[step] = time.perf_counter()

    small_run.make_trainer(
        workdir,
        train_ds=bench_loop.Constant(batch_size=batch_size),
        eval_ds=None,
        model=model,
        optimizer=optax.adam(1e-3),
        train_metrics={},
        num_train_steps=NUM_STEPS + 10,
        log_metrics_every=1000,
        nan_guard=nan_guard,
        evals={"a": Timed(run=kd.evals.Once(10)), "b": Timed(run=kd.evals.Final())},
    ).train()
    return (times[NUM_STEPS + 10] - times[10]) / NUM_STEPS * 1e3


@pytest.mark.parametrize(
    ("model", "batch_size"),
    [(Convolutions(), 64), (Transformer(), 64), (Wide(), 256), (Wide(), 64)],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else f"batch of {x}",
)
def test_guard_overhead(tmp_path, model, batch_size):
    guard = kd.train.NanGuard()
    plain, guarded = [], []
    for _ in range(7):
        plain.append(_run(tmp_path, model, batch_size, None))
        guarded.append(_run(tmp_path, model, batch_size, guard))
    ratios = [b / a for a, b in zip(plain, guarded, strict=True)]
    print(
        f"\nNanGuard, {type(model).__name__}, batch of {batch_size}: "
        f"{statistics.median(plain):.2f} ms/step without, ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f}; "
        "budget 1.01)"
    )
