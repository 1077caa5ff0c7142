#!/usr/bin/env bash
# numpy 2.4.6, ml_dtypes 0.6.0: `np.savez` and `np.load` of a bfloat16 array.
# Guess: the dtype comes back, or saving raises.
# Seen: raw bytes `|V2` come back without a warning; `.view(ml_dtypes.bfloat16)` recovers them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 ml_dtypes==0.6.0
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np

x = np.array([1.5, -2.0], ml_dtypes.bfloat16)
np.savez("x.npz", x=x)
y = np.load("x.npz")["x"]
print(y.dtype)
assert y.dtype == np.dtype("V2") and (y.view(ml_dtypes.bfloat16) == x).all()
PY
