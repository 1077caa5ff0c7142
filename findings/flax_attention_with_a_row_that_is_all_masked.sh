#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2: a query that may attend to nothing (its mask is False everywhere).
# Guess: 0, or NaN as a softmax over nothing.
# Seen: the mean of all values that it must not see, in `nn.dot_product_attention` and
# `jax.nn.dot_product_attention` alike.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
from flax import linen as nn

query, key = jnp.ones((1, 1, 1, 4)), jnp.ones((1, 3, 1, 4))
value = jnp.broadcast_to(jnp.arange(3.0)[None, :, None, None], key.shape)
nothing = jnp.zeros((1, 1, 1, 3), bool)
of_flax = nn.dot_product_attention(query, key, value, mask=nothing)
of_jax = jax.nn.dot_product_attention(query, key, value, mask=nothing)
print("flax", of_flax.ravel(), "jax", of_jax.ravel())
assert bool((of_flax == 1).all()) and bool(jnp.allclose(of_jax, 1))
PY
