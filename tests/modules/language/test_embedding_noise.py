"""Noise on embeddings: in training only, within its bound, from a stream."""

from __future__ import annotations

import functools

import jax
import numpy as np

from kauldron import kd

TOKENS = np.arange(6)[None]


def embeddings(model, params, *, is_training, seed=0):
    with kd.nn.set_train_property(is_training):
        apply = functools.partial(
            model.apply,
            capture_intermediates=lambda m, name: name == "_with_noise",
            mutable=["intermediates"],
        )
        rngs = {"dropout": jax.random.key(seed)}
        _, kept = jax.jit(apply)({"params": params}, TOKENS, rngs=rngs)
    return np.asarray(kept["intermediates"]["_with_noise"][0])


def test_noise_is_added_in_training_alone_and_bounded():
    model = kd.nn.decoder(
        "llama",
        vocab_size=16,
        features=8,
        num_layers=1,
        num_heads=2,
        hidden_features=8,
        embedding_noise=5.0,
        tokens="batch.tokens",
    )
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]
    table = np.asarray(params["embedding"])[TOKENS]
    np.testing.assert_array_equal(embeddings(model, params, is_training=False), table)
    noise = embeddings(model, params, is_training=True) - table
    bound = 5.0 / np.sqrt(6 * 8)
    assert 0.8 * bound < np.abs(noise).max() <= bound * (1 + 1e-6)
    # Of a uniform distribution, to within three standard errors of 48 numbers.
    assert abs(noise.std() - bound / np.sqrt(3)) < 0.25 * bound
    other = embeddings(model, params, is_training=True, seed=1) - table
    assert np.abs(noise - other).max() > 0.1 * bound
