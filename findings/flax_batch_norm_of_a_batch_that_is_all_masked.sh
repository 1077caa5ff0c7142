#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2: `nn.BatchNorm` in training, given a mask that leaves out all.
# Guess: a batch without examples leaves the running statistics as they were.
# Seen: the running mean and variance become NaN, and stay so for all later batches.
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

norm = nn.BatchNorm(use_running_average=False)
x = jnp.ones((2, 3))
variables = norm.init(jax.random.key(0), x)
nothing = jnp.zeros((2, 1), bool)
_, new = norm.apply(variables, x, mask=nothing, mutable=["batch_stats"])
_, later = norm.apply({**variables, **new}, x, mutable=["batch_stats"])
print(later["batch_stats"])
assert all(bool(jnp.isnan(s).all()) for s in jax.tree.leaves(later))
PY
