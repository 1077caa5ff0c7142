"""A decoder of the size of SmolLM2-135M in plain JAX: how much memory its programs take.

    python -m tests.benchmarks.raw_decoder 6

compiles and runs so many programs, each one pass over other numbers of rows and tokens, and
prints resident memory in MiB before there were arrays and at the end, and the bytes of
weights and cache. There is no tokenizer, no sampling, no batching: what is left beyond
weights and cache is what XLA keeps of the programs, and what compiling them has left.
"""

from __future__ import annotations

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks import memory

_NUM_LAYERS, _WIDTH, _NUM_HEADS, _NUM_KV_HEADS, _HEAD_DIM = 30, 576, 9, 3, 64
_HIDDEN, _NUM_WORDS, _NUM_ROWS, _LENGTH = 1536, 49152, 16, 512
# Rows and tokens of a row: decoding in three widths, prompts in three shapes.
_SHAPES = ((16, 1), (4, 1), (1, 1), (4, 16), (4, 64), (16, 16))


def _weights():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(0.02 * rng.standard_normal(shape, np.float32))

    def maps(rows, columns):
        return normal(_NUM_LAYERS, rows, columns)

    heads, kv_heads = _NUM_HEADS * _HEAD_DIM, _NUM_KV_HEADS * _HEAD_DIM
    layers = {
        "q": maps(_WIDTH, heads),
        "k": maps(_WIDTH, kv_heads),
        "v": maps(_WIDTH, kv_heads),
        "out": maps(heads, _WIDTH),
        "gate": maps(_WIDTH, _HIDDEN),
        "up": maps(_WIDTH, _HIDDEN),
        "down": maps(_HIDDEN, _WIDTH),
        "norms": jnp.ones((_NUM_LAYERS, 2, _WIDTH)),
    }
    return {"table": normal(_NUM_WORDS, _WIDTH), "layers": layers}


def _norm(x, scale):
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * scale


def _rotate(x, positions):
    half = _HEAD_DIM // 2
    angles = positions[..., None, None] / 100_000 ** (jnp.arange(half) / half)
    a, b = jnp.split(x, 2, -1)
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def _attend(q, keys, values, positions):
    q = q.reshape(*q.shape[:2], _NUM_KV_HEADS, -1, _HEAD_DIM)
    scores = jnp.einsum("bskgd,btkd->bkgst", q, keys) / _HEAD_DIM**0.5
    is_seen = jnp.arange(_LENGTH) <= positions[:, None, None, :, None]
    shares = jax.nn.softmax(jnp.where(is_seen, scores, -jnp.inf), -1)
    found = jnp.einsum("bkgst,btkd->bskgd", shares, values)
    return found.reshape(*found.shape[:2], -1)


def _forward(weights, cache, tokens, positions):
    rows = jnp.arange(len(tokens))

    def block(carry, layer):
        x, keys, values = carry
        own, index = layer
        h = _norm(x, own["norms"][0])
        q, k, v = (
            (h @ own[name]).reshape(*h.shape[:2], -1, _HEAD_DIM) for name in "qkv"
        )
        q, k = _rotate(q, positions), _rotate(k, positions)
        at = (index, rows[:, None], positions)
        keys, values = keys.at[at].set(k), values.at[at].set(v)
        seen = _attend(q, keys[index, rows], values[index, rows], positions)
        x += seen @ own["out"]
        h = _norm(x, own["norms"][1])
        x += (jax.nn.silu(h @ own["gate"]) * (h @ own["up"])) @ own["down"]
        return (x, keys, values), None

    start = weights["table"][tokens], *cache
    layers = weights["layers"], jnp.arange(_NUM_LAYERS)
    (x, *cache), _ = jax.lax.scan(block, start, layers)
    return x[:, -1] @ weights["table"].T, tuple(cache)


def main(num_programs):
    before = memory.of_process()
    shape = (_NUM_LAYERS, _NUM_ROWS, _LENGTH, _NUM_KV_HEADS, _HEAD_DIM)
    weights, cache = _weights(), (jnp.ones(shape), jnp.ones(shape))
    step = jax.jit(_forward, donate_argnums=1)
    for rows, length in _SHAPES[:num_programs]:
        for start in range(3):
            positions = np.tile(start + np.arange(length), (rows, 1))
            tokens = np.ones((rows, length), np.int32)
            logits, cache = step(weights, cache, tokens, positions)
        logits.block_until_ready()
    after = memory.of_process()
    num_bytes = (
        sum(x.nbytes for x in jax.tree.leaves(some)) for some in (weights, cache)
    )
    print(json.dumps([before, after, *(size / 2**20 for size in num_bytes)]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
