#!/usr/bin/env bash
# safetensors 0.8.0: mode of the file that `save_file` writes, under umask 022.
# Guess: 644, as of every other new file; or that of the file that is replaced.
# Seen: 600 in both cases: a folder of weights that is copied or shared cannot be read by
# others, while the files beside it can.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$folder"
umask 022
"$folder/venv/bin/python" - <<'PY'
import os
import pathlib

import numpy as np
from safetensors.numpy import save_file

pathlib.Path("plain.txt").write_text("")
pathlib.Path("old.safetensors").write_text("")
for name in ("new.safetensors", "old.safetensors"):
    save_file({"x": np.zeros(2)}, name)
modes = {p.name: oct(p.stat().st_mode & 0o777) for p in pathlib.Path().glob("*.*")}
print(modes)
assert modes["plain.txt"] == "0o644"
assert modes["new.safetensors"] == modes["old.safetensors"] == "0o600"
PY
