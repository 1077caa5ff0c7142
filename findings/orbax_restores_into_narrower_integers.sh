#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: int32 values restored into an abstract int8 array.
# Guess: an error, at least for values that do not fit.
# Seen: they wrap without a word: 300 becomes 44.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8 orbax-checkpoint==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

path = f"{tempfile.mkdtemp()}/ckpt"
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, {"x": np.array([300, 5], np.int32)})
    checkpointer.wait_until_finished()
    restored = checkpointer.restore(path, {"x": jax.ShapeDtypeStruct((2,), jnp.int8)})
print(restored)
assert np.asarray(restored["x"]).tolist() == [44, 5]
PY
