#!/usr/bin/env bash
# Pillow 13.0.0: a PNG with 16 bits a channel, in colour.
# Guess: an error, or 16-bit values, as for 16-bit grey (mode `I;16`).
# Seen: mode RGB with the high byte of each value; the low byte is lost without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PY'
import struct
import zlib

import numpy as np
from PIL import Image


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


values = np.array([[0x0102, 0x80FF, 0xFFFF]], ">u2")  # one pixel: red, green, blue
header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
with open("deep.png", "wb") as f:
    f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
    f.write(chunk(b"IDAT", zlib.compress(b"\0" + values.tobytes())) + chunk(b"IEND", b""))
image = Image.open("deep.png")
print(image.mode, np.asarray(image).ravel())
assert image.mode == "RGB" and np.asarray(image).ravel().tolist() == [0x01, 0x80, 0xFF]
PY
