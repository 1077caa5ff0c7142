#!/usr/bin/env bash
# orbax-checkpoint 0.12.8: two `AsyncCheckpointer`s of one process, each with folders of its own,
# saving in two threads.
# Guess: they have nothing to do with each other.
# Seen: within a few saves that begin at once, one fails (FileExistsError of its temporary folder,
# "No ArrayMetadata found", "Directory not empty"), or does not end. Saves are numbered by one
# counter of the process, which what a save has started reads again later. With a lock around the
# calls of `save` alone, writing behind it, the same saves all succeed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
cat > saves.py <<'PY'
import contextlib
import os
import pathlib
import sys
import threading

import jax.numpy as jnp
import orbax.checkpoint as ocp

NUM_THREADS, NUM_STEPS = 2, 40
turns = threading.Lock() if sys.argv[1] == "in_turn" else contextlib.nullcontext()
root = pathlib.Path(sys.argv[1]).absolute()
root.mkdir()
failed = []


def save_often(number):
    checkpointer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
    for step in range(NUM_STEPS):
        try:
            values = {"x": jnp.full((8, 1000), number)}
            with turns:
                checkpointer.save(
                    root / f"{number}_{step}", args=ocp.args.StandardSave(values)
                )
            checkpointer.wait_until_finished()
        except (OSError, ValueError) as e:
            failed.append(type(e).__name__)
            return


threads = [threading.Thread(target=save_often, args=(n,)) for n in range(NUM_THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
complete = len([x for x in root.iterdir() if "tmp" not in x.name])
stuck = sum(thread.is_alive() for thread in threads)
print(f"{sys.argv[1]}: {complete} complete, failed {failed}, stuck {stuck}", flush=True)
is_whole = complete == NUM_THREADS * NUM_STEPS and not failed and not stuck
os._exit(is_whole != (sys.argv[1] == "in_turn"))
PY
export JAX_PLATFORMS=cpu
"$folder/venv/bin/python" saves.py in_turn 2>/dev/null
"$folder/venv/bin/python" saves.py at_once 2>/dev/null
