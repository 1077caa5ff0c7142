"""The exact geometry in a comment of a NIfTI header, beside the rounded one.

The header holds f32, which is 6e-5 mm off at a coordinate of 1 m. Other programs read the
rounded numbers. The comment counts only as long as it rounds to them: who moves the volume
changes them, and may keep the comment.
"""

from __future__ import annotations

import json
import struct

import numpy as np

from kauldron.volumes.files import _nifti_placement
from kauldron.volumes.geometry.base import Geometry

_COMMENT = 6  # the code of texts in extensions
_MARK = b"kauldron geometry: "


def encode(geometry: Geometry) -> bytes:
    """Returns what follows the header: the mark of extensions, and one, if any.

    There is none where f32 is exact.
    """
    affine = _nifti_placement.affine_of(geometry)
    if (affine.astype(np.float32) == affine).all():
        return bytes(4)
    text = _MARK + json.dumps(affine[:3].tolist()).encode("ascii")
    text += bytes(-(len(text) + 8) % 16)
    # Four bytes, of which the first is not 0: extensions follow.
    return b"\x01\0\0\0" + struct.pack("<ii", len(text) + 8, _COMMENT) + text


def decode(content: bytes, order: str, affine: np.ndarray) -> np.ndarray:
    """Returns the exact affine, or the one of the header.

    Args:
      content: What is between the header and the values.
      order: Byte order, `'<'` or `'>'`.
      affine: Of the sform.
    """
    position = 4 if content[:1] not in (b"", b"\0") else len(content)
    while position + 8 <= len(content):
        size, code = struct.unpack_from(f"{order}ii", content, position)
        text = content[position + 8 : position + size]
        if code == _COMMENT and text.startswith(_MARK):
            try:
                found = np.array(json.loads(text[len(_MARK) :].rstrip(b"\0")), float)
            except ValueError:
                return affine
            if found.shape == (3, 4) and (_rounded(found) == affine[:3]).all():
                return np.vstack([found, affine[3:]])
            return affine
        position += max(size, 8)
    return affine


def _rounded(affine: np.ndarray) -> np.ndarray:
    return affine.astype(np.float32).astype(np.float64)
