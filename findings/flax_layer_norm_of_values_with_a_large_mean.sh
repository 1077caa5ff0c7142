#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2: `nn.LayerNorm()` in f32 of [10000, 10001, 10002, 10003].
# Guess: about [-1.34, -0.45, 0.45, 1.34], as every textbook formula gives in f32.
# Seen: [-1500, -500, 500, 1500]. The variance is E[x^2] - E[x]^2 by default, which cancels to
# 0 here; `use_fast_variance=False` is right.
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

x = jnp.array([[10000.0, 10001.0, 10002.0, 10003.0]])
fast, slow = nn.LayerNorm(), nn.LayerNorm(use_fast_variance=False)
params = fast.init(jax.random.key(0), x)
print("default", fast.apply(params, x), "use_fast_variance=False", slow.apply(params, x))
assert float(jnp.abs(fast.apply(params, x)).max()) > 1000
assert abs(float(slow.apply(params, x)[0, 3]) - 1.3416) < 1e-2
PY
