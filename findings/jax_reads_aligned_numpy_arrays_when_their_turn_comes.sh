#!/usr/bin/env bash
# jax 0.10.2 (0.12.0 too), on a CPU: a NumPy array that begins at a multiple of 64 bytes, given to
# `jax.device_put(x, may_alias=False)` or to a jitted function, and written to afterwards.
# Guess: what JAX has been given is what it computes with; with `may_alias=False`, surely.
# Seen: `device_put` uses the array's memory, and shows what is written later. A jitted function
# that is called while the device is busy reads the array when its turn comes: 20 of 20 calls
# see what was written after them. An array that begins 4 bytes further is copied in the call, by
# both. A loader that fills the same memory again trains on wrong batches, depending on where NumPy
# has put it.
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

SIZE, NUM_CALLS = 1000, 20


def make_array(offset):
    memory = np.empty(4 * SIZE + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    return memory[start : start + 4 * SIZE].view(np.float32)


@jax.jit
def slow(x):
    return jax.lax.fori_loop(0, 60, lambda _, y: jnp.tanh(y @ y / 100), x)


identity = jax.jit(lambda x: x)
busy = jnp.ones((700, 700))
jax.block_until_ready((slow(busy), identity(make_array(0))))


def num_seen_later(give):
    found = 0
    for _ in range(NUM_CALLS):
        x = make_array(offset)
        x[:] = 0
        waits = slow(busy)
        given = give(x)
        x[:] = 1
        found += bool((np.asarray(given) == 1).all())
        jax.block_until_ready(waits)
    return found


seen = {}
for offset in (0, 4):
    put = num_seen_later(lambda x: jax.device_put(x, may_alias=False))
    seen[offset] = put, num_seen_later(identity)
    print(f"{jax.__version__}, offset {offset}: device_put {put}, jit {seen[offset][1]}")
assert seen == {0: (NUM_CALLS, NUM_CALLS), 4: (0, 0)}
PY
