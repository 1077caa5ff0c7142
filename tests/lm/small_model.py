"""A two-layer model and a tokenizer trained on the spot, and folders that hold them."""

from __future__ import annotations

import functools

import jax
import numpy as np

from kauldron import kd

TEXT = "The quick brown fox jumps over the lazy dog. To be or not to be, that is it."
SIZES = {
    "features": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "hidden_features": 48,
}


@functools.cache
def tokenizer():
    """Returns a tokenizer of 300 tokens."""
    return kd.lm.Tokenizer.train([TEXT] * 4, vocab_size=300)


def model(family="llama", **options):
    """Returns a small model of the tokenizer's vocabulary."""
    options = {"vocab_size": tokenizer().num_tokens, "tokens": "batch.tokens"} | options
    return kd.nn.decoder(family, **(SIZES | options))


@functools.cache
def params(made):
    """Returns parameters large enough that greedy choices change from token to token."""
    shapes = jax.eval_shape(made.init, jax.random.key(0), np.zeros((1, 1), np.int32))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "scale":
            return 1 + 0.1 * values
        return values / (leaf.shape[0] ** 0.5 if len(leaf.shape) > 1 else 10)

    return jax.tree.map_with_path(draw, shapes["params"])


def save(folder, made=None, **options):
    """Writes a folder in the layout of Hugging Face; returns it."""
    made = made or model()
    return kd.lm.save(folder, made, params(made), tokenizer(), **options)
