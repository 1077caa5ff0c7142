#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: a raw `jax.random.PRNGKey` restored into an abstract typed key.
# Guess: a typed key as asked for, or an error.
# Seen: the raw uint32[2] array, silently; later `fold_in`s still work, so nobody notices.
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
import orbax.checkpoint as ocp

path = f"{tempfile.mkdtemp()}/ckpt"
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, {"key": jax.random.PRNGKey(0)})
    checkpointer.wait_until_finished()
    asked = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    restored = checkpointer.restore(path, asked)
print("asked for", asked["key"].dtype, "got", restored["key"].dtype)
assert restored["key"].dtype == jnp.uint32
PY
