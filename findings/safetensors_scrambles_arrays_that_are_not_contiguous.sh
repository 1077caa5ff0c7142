#!/usr/bin/env bash
# safetensors 0.8.0: `safetensors.numpy.save_file` of a transposed array.
# Guess: the array comes back as it was (0.7.0 does this).
# Seen: the bytes are written in memory order under the transposed shape: the values come back
# in other places, without a word. `np.ascontiguousarray` before saving helps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import load_file, save_file

x = np.arange(12, dtype=np.float32).reshape(3, 4).T
save_file({"x": x, "y": np.ascontiguousarray(x)}, "x.safetensors")
back = load_file("x.safetensors")
print("saved", x.tolist(), "loaded", back["x"].tolist())
assert not np.array_equal(back["x"], x) and np.array_equal(back["y"], x)
assert back["x"][0].tolist() == [0, 1, 2]
PY
