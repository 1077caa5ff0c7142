"""A GAN as a graph: one critic under three names, frozen where it judges for another."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd

pytestmark = pytest.mark.usefixtures("quick_compile")


def networks():
    generator = nn.Sequential([nn.Dense(4), nn.tanh, nn.Dense(3)])
    critic = nn.Sequential([nn.Dense(5), nn.tanh, nn.Dense(1)])
    return generator, critic


def make_gan():
    generator, critic = networks()
    return kd.nn.Graph(
        nodes={
            "generator": kd.nn.Node(generator, "batch.noise"),
            "detached": kd.nn.Node(jax.lax.stop_gradient, "generator"),
            "real": kd.nn.Node("critic", "batch.x"),
            "fake": kd.nn.Node("critic", "detached"),
            "fooled": kd.nn.Node("critic", "generator", frozen=True),
        },
        shared={"critic": critic},
        outputs={"real": "real", "fake": "fake", "fooled": "fooled"},
    )


def test_each_network_follows_its_own_losses_alone():
    rng = np.random.default_rng(0)
    batch = {
        "x": rng.normal(size=(4, 3)).astype("float32"),
        "noise": rng.normal(size=(4, 2)).astype("float32"),
    }
    gan = make_gan()
    generator, critic = networks()

    def critic_loss(real, fake):
        return jnp.mean(nn.relu(1 - real)) + jnp.mean(nn.relu(1 + fake))

    @jax.jit
    def run(rng):
        params = gan.init(rng, batch=batch)["params"]

        def loss(params):
            preds = gan.apply({"params": params}, batch=batch)
            fooled = -jnp.mean(preds["fooled"])
            return critic_loss(preds["real"], preds["fake"]) + fooled

        def judge(params, x):
            return critic.apply({"params": params}, x)

        def make(params):
            return generator.apply({"params": params}, batch["noise"])

        made = make(params["generator"])
        by_hand = {
            "critic": jax.grad(
                lambda p: critic_loss(judge(p, batch["x"]), judge(p, made))
            )(params["critic"]),
            "generator": jax.grad(
                lambda p: -jnp.mean(judge(params["critic"], make(p)))
            )(params["generator"]),
        }
        return params, jax.grad(loss)(params), by_hand

    params, grads, by_hand = run(jax.random.key(0))
    assert set(params) == {"critic", "generator"}
    for got, expected in zip(
        jax.tree.leaves(grads), jax.tree.leaves(by_hand), strict=True
    ):
        # The same sums in another order.
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    assert all(np.any(g) for g in jax.tree.leaves(grads))
