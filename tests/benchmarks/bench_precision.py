"""What f32 sums of gradients cost a step, against the same step with `jax.grad`.

make bench
"""

from __future__ import annotations

import dataclasses
import statistics
import time

import jax
import optax
import pytest

from kauldron import kd
from kauldron import losses as losses_lib
from tests.benchmarks import bench_loop, bench_nan_guard
from tests.train import small_run

pytestmark = pytest.mark.bench

NUM_ROUNDS, NUM_STEPS = 15, 10
MODELS = {
    "convolutions": (bench_nan_guard.Convolutions(), 64),
    "transformer": (bench_nan_guard.Transformer(), 64),
    "dense": (bench_nan_guard.Wide(), 256),
}


class Plain(kd.train.TrainStep):
    """Takes the gradient as JAX gives it."""

    def compute_grads(self, context):
        rngs = self.rng_streams.train_rngs(context.step)

        def loss_fn(params):
            after = self.forward(dataclasses.replace(context, params=params), rngs)
            total, states = losses_lib.compute_losses(self.aux.losses, after)
            return total, dataclasses.replace(
                after, loss_states=states, loss_total=total
            )

        grads, after = jax.grad(loss_fn, has_aux=True)(context.params)
        return grads, dataclasses.replace(after, params=context.params)


class _Run:
    def __init__(self, step, model, batch_size, precision):
        trainer = small_run.make_trainer(
            "unused",
            train_ds=bench_loop.Constant(batch_size=batch_size),
            eval_ds=None,
            evals={},
            model=model,
            optimizer=optax.adam(1e-3),
            train_metrics={},
            precision=precision,
            trainstep=step,
        )
        batch = next(iter(trainer.train_ds))
        self._batch = jax.device_put(batch, trainer.sharding.batch)
        self._step, self._state = trainer.trainstep.step, trainer.init_state()
        self.time()

    def time(self):
        """Returns ms per step, and those of all cores: others that work don't count."""
        clocks = time.perf_counter, time.process_time
        starts = [clock() for clock in clocks]
        for _ in range(NUM_STEPS):
            self._state, _ = self._step(self._state, self._batch)
        jax.block_until_ready(self._state)
        return [
            (clock() - start) / NUM_STEPS * 1e3
            for clock, start in zip(clocks, starts, strict=True)
        ]


@pytest.mark.parametrize("precision", ["bf16", "f32"])
@pytest.mark.parametrize("name", MODELS)
def test_time_of_a_step(name, precision):
    plain = _Run(Plain(), *MODELS[name], precision)
    ours = _Run(kd.train.TrainStep(), *MODELS[name], precision)
    times = [(plain.time(), ours.time()) for _ in range(NUM_ROUNDS)]
    for i, clock in enumerate(("", " of processor time")):
        ratios = [b[i] / a[i] for a, b in times]
        print(
            f"\nf32 sums, {name} in {precision}: "
            f"{statistics.median(a[i] for a, _ in times):.2f} ms/step{clock} with "
            f"jax.grad, ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f}..{max(ratios):.3f}; budget 1.05)"
        )
