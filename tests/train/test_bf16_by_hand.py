"""A run in bf16 is the one that one would write with Flax and optax, bit for bit.

Flax modules compute in bf16 by their own `dtype` there. The casts are the same as ours, so
the compiler has the same program to work on. For another one it may leave out other
roundings to bf16 that it meets on the way (`xla_allow_excess_precision`), of 1/256 each.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kauldron import kd
from tests.train import test_loss_groups as groups_lib
from tests.train import test_precision as precision_lib


def test_bf16_run_equals_the_hand_written_loop_bit_for_bit(tmp_path):
    trainer = precision_lib.make_trainer(tmp_path, log_metrics_every=100)
    state, _ = trainer.train()

    model, optimizer = precision_lib.Net(dtype="bfloat16"), optax.adam(1e-2)
    everywhere = kd.sharding.REPLICATED
    params = trainer.init_state().params
    opt_state = jax.device_put(optimizer.init(params), everywhere)

    @functools.partial(jax.jit, out_shardings=everywhere)
    def step(params, opt_state, batch):
        def loss_fn(params):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            return optax.softmax_cross_entropy_with_integer_labels(
                logits.astype(jnp.float32), batch["label"][:, 0]
            ).mean()

        grads = jax.grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for batch in trainer.train_ds.take(5):
        batch = jax.device_put(batch, kd.sharding.FIRST_DIM)
        params, opt_state = step(params, opt_state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


class FlaxGan(nn.Module):
    """As `groups_lib.Gan`, in Flax's own mixed precision."""

    def setup(self):
        def mlp(width, size):
            layers = [nn.Dense(width, dtype="bfloat16"), nn.tanh]
            return nn.Sequential([*layers, nn.Dense(size, dtype="bfloat16")])

        self.generator, self.critic = mlp(4, 3), mlp(5, 1)

    def __call__(self, x):
        noise = jax.random.normal(self.make_rng("default"), (len(x), 2))
        real, fake = self.critic(x), self.critic(self.generator(noise))
        return real.astype(jnp.float32), fake.astype(jnp.float32)


def test_bf16_steps_equal_hand_written_ones():
    trainer = groups_lib.make_trainer(
        "unused",
        groups_lib.make_step(order="alternating"),
        precision=kd.train.Precision(compute="bfloat16"),
    )
    model = FlaxGan()
    optimizers = {"critic": optax.adam(1e-2), "generator": optax.sgd(1e-1)}

    def loss_fn(own, name, params, batch, step):
        own = jax.tree.map(
            lambda x: x.astype(jnp.bfloat16), own
        )  # once, for both calls
        real, fake = model.apply(
            {"params": {**params, name: own}},
            batch["x"],
            rngs=trainer.rng_streams.train_rngs(step),
        )
        return fake.mean() - real.mean() if name == "critic" else -fake.mean()

    state = trainer.init_state()
    params = state.params
    opt_states = {k: opt.init(params[k]) for k, opt in optimizers.items()}

    @jax.jit
    def by_hand(params, opt_states, batch, step):
        for name, optimizer in optimizers.items():
            grads = jax.grad(loss_fn)(params[name], name, params, batch, step)
            updates, opt_state = optimizer.update(grads, opt_states[name])
            new = optax.apply_updates(params[name], updates)
            params, opt_states = (
                {**params, name: new},
                {**opt_states, name: opt_state},
            )
        return params, opt_states

    for step, batch in enumerate(trainer.train_ds.take(3)):
        batch = jax.device_put(batch, kd.sharding.FIRST_DIM)
        params, opt_states = by_hand(params, opt_states, batch, step)
        state, _ = trainer.trainstep.step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
