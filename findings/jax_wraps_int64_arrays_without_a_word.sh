#!/usr/bin/env bash
# jax 0.10.2 (x64 off): NumPy int64 values beyond int32 given to JAX.
# Guess: an error or a warning, as a Python int gets (OverflowError).
# Seen: they wrap silently, in `jnp.asarray`, `device_put` and arguments of jitted functions.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import warnings

import jax
import jax.numpy as jnp
import numpy as np

warnings.simplefilter("error")
ids = np.array([2**31 + 5, 2**32 + 7])
seen = [jnp.asarray(ids), jax.device_put(ids), jax.jit(lambda x: x)(ids)]
print(seen)
assert all(x.tolist() == [-(2**31) + 5, 7] for x in seen)
try:
    jnp.asarray(2**31 + 5)
except OverflowError as e:
    print("a Python int:", e)
else:
    raise AssertionError("a Python int does not overflow any more")
PY
