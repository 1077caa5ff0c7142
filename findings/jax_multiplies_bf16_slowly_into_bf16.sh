#!/usr/bin/env bash
# jax 0.10.2, CPU (with AVX-512 for bf16): `x @ w` of two bf16 matrices.
# Guess: a product of numbers of half the size is at least as fast as in f32, whatever the
# dtype of its result, which is rounded at the end.
# Seen: `x @ w`, with its result in bf16, takes 1.7 times as long as in f32 (and 8
# times where a program has many of them); the same product with
# `preferred_element_type=jnp.float32` takes 0.6 of it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import statistics
import time

import jax
import jax.numpy as jnp

x = jax.random.normal(jax.random.key(0), (16, 1536))
w = jax.random.normal(jax.random.key(1), (1536, 1536))


def secs(dtype, out):
    product = jax.jit(lambda x, w: jnp.matmul(x, w, preferred_element_type=out))
    pair = x.astype(dtype), w.astype(dtype)
    times = []
    for _ in range(40):
        start = time.process_time()
        product(*pair).block_until_ready()
        times.append(time.process_time() - start)
    return statistics.median(times)


wide = secs(jnp.float32, jnp.float32)
slow, fast = secs(jnp.bfloat16, jnp.bfloat16), secs(jnp.bfloat16, jnp.float32)
print(f"f32 {wide:.5f} s, bf16 into bf16 {slow:.5f} s, bf16 into f32 {fast:.5f} s")
assert slow > 2 * fast
PY
