#!/usr/bin/env bash
# Pillow 13.0.0: a picture whose EXIF orientation says "turn by 90 degrees", saved as JPEG
# and as TIFF, then read.
# Guess: both come as they are stored, and `ImageOps.exif_transpose` turns them.
# Seen: the TIFF comes turned already, the JPEG does not. `exif_transpose` is right for both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import numpy as np
from PIL import Image, ImageOps

wide = Image.fromarray(np.zeros((20, 40, 3), np.uint8))
exif = wide.getexif()
exif[0x0112] = 6
sizes = {}
for suffix in ("jpg", "tif"):
    wide.save(f"photo.{suffix}", exif=exif)
    image = Image.open(f"photo.{suffix}")
    sizes[suffix] = np.asarray(image).shape[:2], ImageOps.exif_transpose(image).size
print("shape as read (h, w), size when turned (w, h):", sizes)
assert sizes == {"jpg": ((20, 40), (20, 40)), "tif": ((40, 20), (20, 40))}
PY
