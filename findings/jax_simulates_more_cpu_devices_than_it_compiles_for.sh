#!/usr/bin/env bash
# jax 0.10.2: `jax_num_cpu_devices=4096`, then a program over all of them is compiled.
# Guess: as with 2048 devices: it compiles, in one process.
# Seen: the devices are made, arrays' shardings over them too, but compiling raises
# "Multiprocess computations aren't implemented on the CPU backend": XLA takes the device
# numbers above 2047 for those of a second process, though `process_count()` is 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
cat > compile.py <<'PY'
import sys

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

number = int(sys.argv[1])
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", number)
mesh = jax.make_mesh((number,), ("x",), axis_types=(AxisType.Auto,))
x = jax.ShapeDtypeStruct((number,), jnp.float32, sharding=NamedSharding(mesh, P("x")))
assert jax.device_count() == number and jax.process_count() == 1
try:
    jax.jit(jnp.sum).lower(x).compile()
    print(number, "devices: compiled")
except jax.errors.JaxRuntimeError as error:
    print(number, "devices:", error)
    assert "Multiprocess computations aren't implemented on the CPU" in str(error)
    sys.exit(3)
PY
"$folder/venv/bin/python" compile.py 2048
code=0
"$folder/venv/bin/python" compile.py 4096 || code=$?
test "$code" -eq 3
