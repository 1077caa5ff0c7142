#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2: `optax.global_norm` of a tree with many bf16 leaves.
# Guess: the squares are added up in f32: 10,000 scalars of 1 have the norm 100.
# Seen: 16. The sum over leaves is kept in bf16, which stops at 256, so
# `clip_by_global_norm(1.0)` leaves a gradient of norm 6.25.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 optax==0.2.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np
import optax

tree = {f"p{i}": jnp.ones((), jnp.bfloat16) for i in range(10_000)}
norm = float(optax.global_norm(tree))
clip = optax.clip_by_global_norm(1.0)
clipped, _ = clip.update(tree, clip.init(tree))
left = np.sqrt(sum(float(x) ** 2 for x in jax.tree.leaves(clipped)))
print("norm", norm, "norm after clipping to 1:", left)
assert norm == 16 and left == 6.25
PY
