#!/usr/bin/env bash
# Pillow 13.0.0: `convert("L")` of 16-bit grey and of float pictures.
# Guess: values are scaled to 0 to 255, or the conversion is refused.
# Seen: they are clipped: all above 255 is white, and a float picture in [0, 1] is black.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import numpy as np
from PIL import Image

deep = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
grey = np.asarray(Image.fromarray(deep).convert("L"))
unit = np.asarray(Image.fromarray(np.linspace(0, 0.9, 4, dtype=np.float32)[None]).convert("L"))
print("16 bit", grey.ravel(), "float", unit.ravel())
assert (grey.ravel()[1:] == 255).all() and (unit == 0).all()
PY
