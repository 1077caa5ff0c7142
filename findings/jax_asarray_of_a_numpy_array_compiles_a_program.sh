#!/usr/bin/env bash
# jax 0.10.2 (0.12.0 too): `jnp.asarray` of a NumPy array.
# Guess: it copies the array to the device, as `jax.device_put` does.
# Seen: it compiles a program, `stage`, for each new shape and dtype (10 ms each on a CPU), although
# nothing is computed: three for three shapes. `jax.device_put` compiles none, and gives equal
# arrays of the same dtype. A program that makes many small arrays when it starts waits for these.
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

compiled = []


def note(event, duration_secs, **about):
    if event.endswith("backend_compile_duration"):
        compiled.append(about.get("fun_name"))


jax.monitoring.register_event_duration_secs_listener(note)
arrays = [np.arange(n, dtype=np.float32) for n in (3, 4, 5)]
put = [jax.device_put(x) for x in arrays]
print(f"device_put compiles {compiled}")
assert not compiled
made = [jnp.asarray(x) for x in arrays]
print(f"asarray compiles {compiled}")
assert compiled == ["jit(stage)"] * 3
for a, b in zip(made, put, strict=True):
    assert a.dtype == b.dtype and np.array_equal(a, b)
PY
