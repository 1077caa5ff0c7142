"""A run in bf16 is the one that one would write with Flax and optax, bit for bit.

Flax modules compute in bf16 by their own `dtype` there. The casts are the same as ours, so
the compiler has the same program to work on. For another one it may leave out other
roundings to bf16 that it meets on the way (`xla_allow_excess_precision`), of 1/256 each.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kauldron import kd
from tests.train import test_precision as precision_lib


def test_bf16_run_equals_the_hand_written_loop_bit_for_bit(tmp_path):
    trainer = precision_lib.make_trainer(tmp_path, log_metrics_every=1)
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
