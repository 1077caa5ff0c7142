#!/usr/bin/env bash
# jax 0.10.2: `jnp.cumsum` of 300 ones in uint8.
# Guess: 300, as `jnp.sum` and `np.cumsum` give, which count in a wider integer.
# Seen: 44. `jnp.cumsum` (and `jnp.cumprod`) keep the dtype of what they are given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax.numpy as jnp
import numpy as np

ones = np.ones(300, np.uint8)
print("jnp.cumsum", jnp.cumsum(ones)[-1], "np.cumsum", np.cumsum(ones)[-1], "jnp.sum", jnp.sum(jnp.asarray(ones)))
assert int(jnp.cumsum(ones)[-1]) == 44 and int(np.cumsum(ones)[-1]) == 300
assert int(jnp.sum(jnp.asarray(ones))) == 300
PY
