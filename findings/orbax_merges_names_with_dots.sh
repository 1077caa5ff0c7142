#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: a tree with the leaves `a.b` and `a` -> `b`.
# Guess: both are saved, or saving is refused.
# Seen: saving succeeds, and both leaves come back with the value of one of them. Which one
# differs from save to save.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8 orbax-checkpoint==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import tempfile

import jax.numpy as jnp
import orbax.checkpoint as ocp

seen = set()
for i in range(8):
    path = f"{tempfile.mkdtemp()}/ckpt"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, {"a": {"b": jnp.zeros(2)}, "a.b": jnp.ones(2)})
        checkpointer.wait_until_finished()
        tree = checkpointer.restore(path)
    seen.add((float(tree["a"]["b"][0]), float(tree["a.b"][0])))
print("(a -> b, a.b) saved: (0, 1); restored:", seen)
assert seen and seen <= {(0.0, 0.0), (1.0, 1.0)}
PY
