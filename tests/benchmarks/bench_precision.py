"""What f32 sums of gradients cost a step, against the same step with `jax.grad`.

make bench
"""

from __future__ import annotations

import dataclasses

import jax
import pytest

from kauldron import kd
from kauldron import losses as losses_lib
from tests.benchmarks import clocks, loops, small_models

pytestmark = pytest.mark.bench

NUM_ROUNDS, NUM_STEPS = 15, 10
MODELS = {
    "convolutions": (small_models.Convolutions(), 64),
    "transformer": (small_models.Transformer(), 64),
    "dense": (small_models.WIDE, 256),
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
        trainer = loops.make_trainer(
            "unused",
            small_models.points(batch_size),
            model=model,
            precision=precision,
            trainstep=step,
        )
        batch = next(iter(trainer.train_ds))
        self._batch = jax.device_put(batch, trainer.sharding.batch)
        self._step, self._state = trainer.trainstep.step, trainer.init_state()

    def secs(self):
        """Seconds of a step."""
        start = clocks.now()
        for _ in range(NUM_STEPS):
            self._state, _ = self._step(self._state, self._batch)
        jax.block_until_ready(self._state)
        return clocks.since(start).per(NUM_STEPS)


@pytest.mark.parametrize("precision", ["bf16", "f32"])
@pytest.mark.parametrize("name", MODELS)
def test_time_of_a_step(figures, name, precision):
    secs = clocks.in_turn(
        {
            step: _Run(step(), *MODELS[name], precision).secs
            for step in (Plain, kd.train.TrainStep)
        },
        NUM_ROUNDS,
    )
    plain_ms = clocks.medians(secs[Plain]).wall * 1e3
    figures.ratio(
        f"sums of gradients in f32, {name} in {precision}",
        secs[kd.train.TrainStep],
        secs[Plain],
        against=f"the same step with `jax.grad` ({plain_ms:.2g} ms)",
        budget=1.05,
    )
