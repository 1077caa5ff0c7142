#!/usr/bin/env bash
# jax 0.10.2: a jitted function called with an array of sharding P("x", None), then P("x").
# Guess: one program: both split the first axis of a matrix in the same way.
# Seen: two entries in the cache of the function: specs are compared as they are written,
# trailing None included, although `is_equivalent_to` says that they are the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P

mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
long, short = NamedSharding(mesh, P("x", None)), NamedSharding(mesh, P("x"))
double = jax.jit(lambda x: 2 * x)
for sharding in (long, short):
    double(jax.device_put(jnp.ones((4, 4)), sharding))
print("equivalent:", long.is_equivalent_to(short, 2), "programs:", double._cache_size())
assert long.is_equivalent_to(short, 2) and double._cache_size() == 2
PY
