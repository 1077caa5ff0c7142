"""Image files: which are some, and what they hold."""

from __future__ import annotations

import os

import numpy as np

from kauldron.data import _errors

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# Number of channels -> how pixels are read, in the words of Pillow.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(
    path: str | os.PathLike[str], *, num_channels: int | None = None
) -> np.ndarray:
    """Returns the pixels of an image file, `u8[h w c]`.

    Args:
      path: The file.
      num_channels: 3 (RGB), 1 (grey) or 4 (RGBA), to which it is converted; `None` leaves
        such a file as it is, and takes any other as RGB.

    Raises:
      BadRecordError: If it does not decode; names the file.
      DataError: If `num_channels` is another number.
    """
    from PIL import Image

    if num_channels not in (None, *_MODES):
        raise _errors.DataError(f"`num_channels` is 1, 3 or 4: got {num_channels}.")
    try:
        with Image.open(path) as image:
            own_mode = image.mode if image.mode in _MODES.values() else "RGB"
            mode = own_mode if num_channels is None else _MODES[num_channels]
            pixels = np.asarray(image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise _errors.BadRecordError(
            f"The image {os.fspath(path)} cannot be decoded: {error}."
        ) from error
    return pixels.reshape(*pixels.shape[:2], -1)
