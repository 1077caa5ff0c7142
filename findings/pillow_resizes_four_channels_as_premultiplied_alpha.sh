#!/usr/bin/env bash
# Pillow 13.0.0: bilinear resizing of an array with four channels (RGB and depth, say).
# Guess: each channel is resized as it would be alone.
# Seen: an array of four channels is RGBA, and the first three are weighted by the fourth:
# where it is 0 they become 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import numpy as np
from PIL import Image

x = np.full((8, 8, 4), 200, np.uint8)
x[:4, :, 3] = 0
small = np.asarray(Image.fromarray(x).resize((4, 4), Image.BILINEAR))
alone = np.asarray(Image.fromarray(x[..., :3].copy()).resize((4, 4), Image.BILINEAR))
print("first channel of four", small[:, 0, 0], "of three", alone[:, 0, 0])
assert small[0, 0, 0] == 0 and (alone[..., 0] == 200).all()
PY
