#!/usr/bin/env bash
# wandb 0.31.0, CPython: `run.finish()` with mode="offline".
# Guess: when it returns, the file `run-<id>.wandb` is complete: one may read, copy or
# `wandb sync` it, and end the container.
# Seen: of several runs that log 200 numbers each, some files still grow after it has
# returned, by up to half of their size: the process `wandb-core` writes on. Waiting until
# the file has its `exit` record avoids it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check wandb==0.31.0
cd "$folder"
cat > program.py <<'PY'
import pathlib, time
import wandb

num_grown = 0
for _ in range(30):
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
    run = wandb.init(project="p", mode="offline", dir=".", settings=settings)
    for step in range(200):
        run.log({"loss": 1 / (step + 1)})
    run.finish()
    (file,) = pathlib.Path("wandb").rglob(f"run-{run.id}.wandb")
    size = file.stat().st_size
    time.sleep(1)
    num_grown += file.stat().st_size > size
print(num_grown)
PY
num_grown=$(env -u WANDB_MODE "$folder/venv/bin/python" program.py)
echo "files that grew after finish(): $num_grown of 30"
[[ $num_grown -ge 1 ]]
