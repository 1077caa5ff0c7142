#!/usr/bin/env bash
# optax 0.2.8, jax 0.10.2: the second moment of `optax.adam` for a bf16 parameter.
# Guess: after one gradient of 100 and 5,000 of 0.01 it has decayed by 0.999 ** 5000, with
# less precision than in f32 (0.067).
# Seen: 10, for ever. 0.1 % less rounds to the same bf16 number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 optax==0.2.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp
import optax


def second_moment(dtype):
    adam, w = optax.adam(1e-3), jnp.ones(1, dtype)
    _, state = adam.update(jnp.full(1, 100, dtype), adam.init(w), w)
    small = jnp.full(1, 0.01, dtype)
    step = lambda _, s: adam.update(small, s, w)[1]
    return float(jax.lax.fori_loop(0, 5000, step, state)[0].nu[0])


half, single = second_moment(jnp.bfloat16), second_moment(jnp.float32)
print("bf16", half, "f32", single)
assert half == 10 and abs(single - 0.0673) < 1e-3
PY
