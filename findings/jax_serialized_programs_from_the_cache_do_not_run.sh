#!/usr/bin/env bash
# jax 0.10.2, CPU: a compiled program is serialized, loaded and called; the second time, it
# came from the compilation cache.
# Guess: `serialize_executable` gives the same program, whether it was compiled now or before.
# Seen: what came from the cache serializes and loads without an error, and then does not
# run: "Function ... not found". So a program that is handed to others must be compiled anew.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
cat > serialize.py <<'PY'
import jax
import jax.numpy as jnp
from jax.experimental import serialize_executable

x = jnp.arange(8.0).reshape(4, 2)
compiled = jax.jit(lambda x: (jnp.tanh(x) / 3, x.sum())).lower(x).compile()
loaded = serialize_executable.deserialize_and_load(
    *serialize_executable.serialize(compiled)
)
try:
    print("sum", float(loaded(x)[1]))
except jax.errors.JaxRuntimeError as e:
    print(e)
PY
export JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/cache"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
"$folder/venv/bin/python" serialize.py > first
"$folder/venv/bin/python" serialize.py > second
echo "compiled: $(cat first); from the cache: $(cat second)"
grep -q "^sum 28.0$" first
grep -q "NOT_FOUND: Function .* not found" second
