#!/usr/bin/env bash
# jax 0.10.2: `jax.random.categorical` of 1,000 equal logits in bf16.
# Guess: draws are uniform, since all logits are equal and exact.
# Seen: 98 % of them fall in the lower half: the Gumbel noise is drawn in bf16, where ties
# are common, and the first of equal maxima wins. With f32 logits it is 50 %.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp

share = {}
for dtype in (jnp.bfloat16, jnp.float32):
    draws = jax.random.categorical(jax.random.key(0), jnp.zeros(1000, dtype), shape=(50_000,))
    share[dtype] = float((draws < 500).mean())
print(share)
assert share[jnp.bfloat16] > 0.97 and abs(share[jnp.float32] - 0.5) < 0.02
PY
