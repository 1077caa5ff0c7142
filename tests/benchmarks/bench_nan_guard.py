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

NUM_STEPS = 100


class Wide(nn.Module):
    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = nn.relu(nn.Dense(512)(inputs))
        for _ in range(4):
            x = nn.relu(nn.Dense(512)(x))
        return {"logits": nn.Dense(10)(x)}


def _run(workdir, nan_guard):
    times = {}

    class Timed(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            jax.block_until_ready(state)
            times[step] = time.perf_counter()

    small_run.make_trainer(
        workdir,
        train_ds=bench_loop.Constant(batch_size=bench_loop.BATCH_SIZE),
        eval_ds=None,
        model=Wide(),
        optimizer=optax.adam(1e-3),
        train_metrics={},
        num_train_steps=NUM_STEPS + 10,
        log_metrics_every=1000,
        nan_guard=nan_guard,
        evals={"a": Timed(run=kd.evals.Once(10)), "b": Timed(run=kd.evals.Final())},
    ).train()
    return (times[NUM_STEPS + 10] - times[10]) / NUM_STEPS * 1e3


def test_guard_overhead(tmp_path):
    guard = kd.train.NanGuard()
    plain, guarded = [], []
    for _ in range(5):
        plain.append(_run(tmp_path, None))
        guarded.append(_run(tmp_path, guard))
    ratios = [b / a for a, b in zip(plain, guarded, strict=True)]
    print(
        f"\nNanGuard: {statistics.median(plain):.2f} ms/step without, ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f}; "
        "budget 1.01)"
    )
