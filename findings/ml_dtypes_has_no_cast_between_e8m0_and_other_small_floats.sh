#!/usr/bin/env bash
# ml_dtypes 0.6.0, numpy 2.4.6: casts between the small floating dtypes.
# Guess: every one of them can be cast to every other with `astype`, as float8_e4m3fn to
# float8_e5m2.
# Seen: `float8_e8m0fnu` (the scales of block formats) has no cast to or from any other float
# of 8 bits or fewer: TypeError. Going through float32 works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ml_dtypes==0.6.0 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import ml_dtypes
import numpy as np

x = np.ones(2, ml_dtypes.float8_e4m3fn)
print(x.astype(ml_dtypes.float8_e5m2).dtype)
a, b = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e8m0fnu
for source, target in ((a, b), (b, a)):
    try:
        np.ones(2, source).astype(target)
    except TypeError as e:
        print("TypeError:", e)
    else:
        raise AssertionError("there is a cast now")
    assert (np.ones(2, source).astype(np.float32).astype(target) == 1).all()
PY
