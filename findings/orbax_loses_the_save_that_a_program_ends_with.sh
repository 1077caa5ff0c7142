#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: a program that ends right after `CheckpointManager.save`.
# Guess: Python waits for the threads of the save, which are no daemons, so it is completed.
# Seen: no checkpoint, and exit code 0: the save needs pools of threads, which take no work
# once the program ends ("cannot schedule new futures after shutdown", in a traceback).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8 orbax-checkpoint==0.12.8
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY' 2> "$folder/errors"
import jax.numpy as jnp
import orbax.checkpoint as ocp
import os

manager = ocp.CheckpointManager(os.path.abspath("checkpoints"))
manager.save(1, args=ocp.args.StandardSave({"x": jnp.ones(1_000_000)}))
PY
echo "exit code 0; on disk: $(ls checkpoints)"
tail -n 1 "$folder/errors"
test ! -e checkpoints/1
grep -q "cannot schedule new futures" "$folder/errors"
