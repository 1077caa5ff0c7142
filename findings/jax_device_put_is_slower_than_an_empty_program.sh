#!/usr/bin/env bash
# jax 0.10.2, CPU: placing a dict of two small NumPy arrays on one device.
# Guess: `jax.device_put` is the cheapest way, and a jitted function that returns its
# argument costs as much, plus the call.
# Seen: `device_put` spends about 30 us of Python on each array (65 us for two, 190 us for
# eight). `jax.jit(lambda x: x, in_shardings=s, out_shardings=s)` gives arrays of the same
# values, dtypes and sharding in 10 us, as its arguments are taken in C++. It always copies,
# while `device_put` may use the memory of an aligned array: large arrays are not for it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import statistics
import timeit

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

place = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), PartitionSpec("data"))
batch = {"x": np.ones((64, 16), np.float32), "label": np.zeros((64, 1), np.int32)}
empty = jax.jit(lambda batch: batch, in_shardings=place, out_shardings=place)
put = lambda: jax.device_put(batch, place)

for name in batch:
    a, b = put()[name], empty(batch)[name]
    assert (a == b).all() and a.dtype == b.dtype and a.sharding == b.sharding
ratios = []
for _ in range(9):
    slow, fast = (timeit.timeit(f, number=500) for f in (put, lambda: empty(batch)))
    ratios.append(slow / fast)
ratio = statistics.median(ratios)
print(f"device_put takes {ratio:.1f} times as long as the empty program")
assert ratio > 2
PY
