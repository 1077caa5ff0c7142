#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2: `nn.MultiHeadDotProductAttention(attention_fn=f)` with a wrapper
# `f(query, key, value, **kwargs)` that passes everything on to `nn.dot_product_attention`.
# Guess: the same output as without it, as `**kwargs` takes all that Flax passes.
# Seen: only arguments that the signature of `f` names are passed. Mask, dropout and dtype are
# dropped without a word: a causal mask has no effect, dropout never drops.
# `functools.wraps(nn.dot_product_attention)` around `f` brings them back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def wrapper(query, key, value, **kwargs):
    return nn.dot_product_attention(query, key, value, **kwargs)


@functools.wraps(nn.dot_product_attention)
def wrapped(*args, **kwargs):
    return nn.dot_product_attention(*args, **kwargs)


x = jax.random.normal(jax.random.key(0), (1, 5, 8))
causal = jnp.tril(jnp.ones((5, 5), bool))[None, None]
outputs = {}
for name, function in {
    "plain": nn.dot_product_attention,
    "kwargs": wrapper,
    "wraps": wrapped,
}.items():
    attention = nn.MultiHeadDotProductAttention(
        num_heads=2, attention_fn=function, dropout_rate=0.5
    )
    variables = attention.init(jax.random.key(1), x, deterministic=True)
    masked = attention.apply(variables, x, mask=causal, deterministic=True)
    unmasked = attention.apply(variables, x, deterministic=True)
    dropped = attention.apply(
        variables, x, deterministic=False, rngs={"dropout": jax.random.key(2)}
    )
    outputs[name] = masked
    print(
        f"{name}: the mask changes something: {not np.allclose(masked, unmasked)},",
        f"dropout does: {not np.allclose(dropped, unmasked)}",
    )
    is_lost = name == "kwargs"
    assert np.allclose(masked, unmasked) == is_lost
    assert np.allclose(dropped, unmasked) == is_lost
assert np.allclose(outputs["plain"], outputs["wraps"])
PY
