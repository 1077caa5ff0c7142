#!/usr/bin/env bash
# safetensors 0.8.0 with ml_dtypes 0.6.0: float8_e4m3fn arrays through `safetensors.numpy`.
# Guess: what `save_file` accepts, `load_file` reads.
# Seen: it is written, and reading raises AttributeError for `numpy.float8_e4m3fn`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.6.0
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

save_file({"x": np.zeros(2, ml_dtypes.float8_e4m3fn)}, "x.safetensors")
try:
    load_file("x.safetensors")
except AttributeError as e:
    print("AttributeError:", e)
else:
    raise AssertionError("float8 can be read")
PY
