#!/usr/bin/env bash
# jax 0.10.2, 8 simulated CPU devices on a machine of few cores: a `pure_callback` in a
# program that also returns something else, on an array of a few 100 kB for each device.
# Guess: as with small arrays, and as without the other output: it runs.
# Seen: in the callback `np.asarray` of its argument never returns: JAX has put it on a
# device, which copies large arrays in a thread of its own, and the other devices, which wait
# for the callback in a collective, hold all of them. XLA aborts the process after its
# time-out (40 s; 5 here). With `NPROC=32` in the environment there are threads enough.
set -euo pipefail
test "$(nproc)" -le 8 || { echo "more cores than devices: nothing to see"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
cat > callback.py <<'PY'
import sys

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

size, has_other_output = int(sys.argv[1]), sys.argv[2] == "two"
mesh = jax.make_mesh((8,), ("d",), devices=jax.devices("cpu"))
x = jax.device_put(np.ones((8, size), np.int32), NamedSharding(mesh, P("d")))
rows = jax.ShapeDtypeStruct((8,), np.float32)


@jax.jit
def run(x):
    sums = jax.pure_callback(lambda x: np.asarray(x).sum(1).astype(np.float32), rows, x)
    return (sums, x.sum()) if has_other_output else (sums,)


for _ in range(50):
    jax.block_until_ready(run(x))
print(size, sys.argv[2], "output(s): it runs")
PY
export JAX_PLATFORMS=cpu
export XLA_FLAGS="--xla_force_host_platform_device_count=8 --xla_cpu_collective_call_warn_stuck_timeout_seconds=3 --xla_cpu_collective_call_terminate_timeout_seconds=5"
python=$folder/venv/bin/python
"$python" callback.py 1000 two
"$python" callback.py 1000000 one
NPROC=32 "$python" callback.py 1000000 two
code=0
"$python" callback.py 1000000 two > log 2>&1 || code=$?
grep -o -m1 "Termination timeout for .all reduce" log
test "$code" -ne 0
