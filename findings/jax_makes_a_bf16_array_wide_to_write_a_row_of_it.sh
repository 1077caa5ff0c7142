#!/usr/bin/env bash
# jax 0.10.2, CPU: rows written to, and rows looked up in, a large array in bf16.
# Guess: `x.at[rows].set(values)` of an array that is given away touches those rows, whatever
# the dtype; a look-up within a loop reads a row in each step.
# Seen: in bf16, all of the array is made f32, written to, and made bf16 again: the program
# takes as much memory besides as the array has in f32, and the time of reading all of it. A
# loop that looks rows up and computes with them in f32 makes the whole array f32 once
# before it begins. In f32 neither happens, nor with the same bits as uint16; nor in the loop,
# if the array and the indices go through one `jax.lax.optimization_barrier` in each step.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp

NUM_ROWS, WIDTH = 50_000, 256
ROWS = jnp.arange(16)
WIDE = 4 * NUM_ROWS * WIDTH


def more_bytes(function, dtype):
    table = jnp.zeros((NUM_ROWS, WIDTH), dtype)
    program = jax.jit(function, donate_argnums=0).lower(table).compile()
    return program.memory_analysis().temp_size_in_bytes


def write(table):
    return table.at[ROWS].set(jnp.ones((16, WIDTH), table.dtype))


def look_up(barrier):
    def run(table):
        def step(i, total):
            found, rows = barrier((table, ROWS + i))
            return total + found[rows].astype(jnp.float32)

        return jax.lax.fori_loop(0, 8, step, jnp.zeros((16, WIDTH)))

    return run


bare, guarded = look_up(lambda x: x), look_up(jax.lax.optimization_barrier)
found = {
    "write": [more_bytes(write, d) for d in (jnp.bfloat16, jnp.float32, jnp.uint16)],
    "look up": [more_bytes(bare, d) for d in (jnp.bfloat16, jnp.float32)],
    "look up, barrier": [more_bytes(guarded, jnp.bfloat16)],
}
print(found)
small = WIDE / 100
assert found["write"][0] >= WIDE and max(found["write"][1:]) < small
assert found["look up"][0] >= WIDE and found["look up"][1] < small
assert found["look up, barrier"][0] < small
PY
