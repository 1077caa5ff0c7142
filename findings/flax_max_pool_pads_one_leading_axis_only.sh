#!/usr/bin/env bash
# flax 0.12.8, jax 0.10.2: `nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))` of
# `(2, 3, 8, 8, 1)`: two leading axes, as `nn.Conv` and `padding="SAME"` take them.
# Guess: works, and is the pooled `(6, 8, 8, 1)`, reshaped.
# Seen: ValueError "safe_zip() argument 1 has length 4 but argument 0 has length 5": padding by
# numbers is extended by one leading axis, whatever there is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax.numpy as jnp
from flax import linen as nn

x = jnp.arange(384.0).reshape(2, 3, 8, 8, 1)
by_numbers = {"strides": (2, 2), "padding": ((1, 1), (1, 1))}
print("padding='SAME':", nn.max_pool(x, (3, 3), (2, 2), "SAME").shape)
print("one leading axis:", nn.max_pool(x.reshape(6, 8, 8, 1), (3, 3), **by_numbers).shape)
try:
    nn.max_pool(x, (3, 3), **by_numbers)
except ValueError as e:
    print("two leading axes:", e)
    assert "safe_zip" in str(e)
else:
    raise SystemExit("two leading axes are padded now")
PY
