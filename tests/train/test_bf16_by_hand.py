"""A run in bf16 is the one that one would write by hand, bit for bit.

Layers cast to bf16 and norms to f32 there, and the gradient of a bias is summed in f32 by
a rule of its own. The casts are the same as ours, so the compiler has the same program to
work on. For another one it may leave out other roundings to bf16 that it meets on the way
(`xla_allow_excess_precision`), of 1/256 each.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from kauldron import kd
from tests.train import test_precision as precision_lib


@jax.custom_vjp
def add_bias(x, bias):
    return x + bias.astype(x.dtype)


add_bias.defvjp(
    lambda x, bias: (add_bias(x, bias), None),
    lambda _, g: (g, g.astype(jnp.float32).sum(0)),
)


def dense(params, x):
    x = x.astype(jnp.bfloat16) @ params["kernel"].astype(jnp.bfloat16)
    return add_bias(x, params["bias"])


def logits_of(params, x):
    x = dense(params["first"], x).astype(jnp.float32)
    x = nn.relu(nn.LayerNorm().apply({"params": params["norm"]}, x))
    return dense(params["head"], x).astype(jnp.float32)


def test_bf16_run_equals_the_hand_written_loop_bit_for_bit(tmp_path):
    trainer = precision_lib.make_trainer(tmp_path, log_metrics_every=1)
    state, _ = trainer.train()

    optimizer = optax.adam(1e-2)
    everywhere = kd.sharding.REPLICATED
    params = trainer.init_state().params
    opt_state = jax.device_put(optimizer.init(params), everywhere)

    @functools.partial(jax.jit, out_shardings=everywhere)
    def step(params, opt_state, batch):
        def loss_fn(params):
            return optax.softmax_cross_entropy_with_integer_labels(
                logits_of(params, batch["x"]), batch["label"][:, 0]
            ).mean()

        grads = jax.grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for batch in trainer.train_ds.take(5):
        batch = jax.device_put(batch, kd.sharding.FIRST_DIM)
        params, opt_state = step(params, opt_state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
