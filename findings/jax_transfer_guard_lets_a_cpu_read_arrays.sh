#!/usr/bin/env bash
# jax 0.10.2: `np.asarray(x)` of an array of JAX inside `jax.transfer_guard("disallow")`.
# Guess: it raises on every backend, as an implicit transfer from the device; so a program
# that passes its tests under the guard on a CPU passes on a GPU.
# Seen: on a CPU it gives the array, as nothing is copied: the guard is only asked where the
# device is another one. (jax 0.11.2 on a GPU: "Disallowed device-to-host transfer".) Host
# to device raises on a CPU too. `jax.device_get(x)` is explicit, and allowed everywhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

x = jnp.arange(3.0) + 1
add = jax.jit(lambda a, b: a + b)
add(x, x)
with jax.transfer_guard("disallow"):
    print("device to host:", np.asarray(x))
    assert (np.asarray(x) == [1, 2, 3]).all()
    assert (jax.device_get(x) == [1, 2, 3]).all()
    try:
        add(x, np.ones(3, np.float32))
    except Exception as e:
        print("host to device:", type(e).__name__)
    else:
        raise AssertionError("host to device was allowed")
PY
