"""Image files: recognising and decoding them."""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from kauldron.data import _errors

if TYPE_CHECKING:
    from PIL import Image


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# Number of channels -> how pixels are read, in the words of Pillow.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

_GREY = ("1", "L", "I;16", "I;16L", "I;16B", "I;16N")
_32_BITS = {"I": np.dtype(np.int32), "F": np.dtype(np.float32)}
_ORIENTATION = 0x0112  # the EXIF tag
_TURNED_BACK = {6: 8, 8: 6}  # the others are their own inverse


def read_image(
    path: str | os.PathLike[str] | BinaryIO,
    *,
    num_channels: int | None = None,
    exif_orientation: bool = True,
    as_stored: bool = False,
) -> np.ndarray:
    """Returns the pixels of an image file, `u8[h w c]`, as a viewer shows them.

    - Whatever 8 bits hold is converted: two colours (0 and 255), grey, RGB, palettes,
      CMYK, YCbCr, LAB, with transparency or without. Transparency is dropped for 1 and 3
      channels, not blended with a background.
    - 16 bits a channel are scaled, `rint(v / 257)`: 65535 becomes 255.
    - 32 bits, int or float, are refused: no range is known that could be scaled.
    - Of a file with several pages or frames, it is the first.

    Args:
      path: The file, or its content as a file that is open.
      num_channels: 3 (RGB), 1 (grey) or 4 (RGBA), to which it is converted; `None` takes
        the fewest that lose nothing: 4 with transparency, else 1 for grey, else 3.
      exif_orientation: Whether the picture is turned as the camera noted; otherwise the
        pixels come as stored in the file.
      as_stored: Whether more than 8 bits stay as they are: `u16`, `i32`, `f32`. Their
        channels are then not converted.

    Raises:
      BadRecordError: If it does not decode, or has values that cannot be converted;
        names the file and the mode.
      DataError: If `num_channels` is another number.
    """
    from PIL import Image

    check_num_channels("read_image", num_channels)
    try:
        with Image.open(path) as image:
            raw_mode = _raw_mode(image)
            orientation = _orientation(image)
            image.load()
            if ";16" in raw_mode and image.mode in ("RGB", "RGBA"):
                pixels = _16_bit_colours(path, image, raw_mode)
                pixels = _to_channels(pixels, num_channels, as_stored)
            else:
                pixels = _pixels(image, num_channels, as_stored, raw_mode)
            # Pillow turns TIFFs itself.
            is_turned = orientation != 1 and _orientation(image) != orientation
    except (OSError, SyntaxError, ValueError) as error:
        raise _errors.BadRecordError(
            f"The image {_name_of(path)} cannot be decoded: {error}."
        ) from error
    if is_turned and not exif_orientation:
        return turn(pixels, _TURNED_BACK.get(orientation, orientation))
    return pixels if is_turned or not exif_orientation else turn(pixels, orientation)


def pixels_of(image: Image.Image, *, as_stored: bool = False) -> np.ndarray:
    """Returns the pixels `[h w c]` of a `PIL.Image`, by the rule of `read_image`.

    Raises:
      BadRecordError: If its mode cannot be converted.
    """
    orientation = _orientation(image)
    image.load()
    is_turned = _orientation(image) != orientation
    try:
        pixels = _pixels(image, None, as_stored, "")
    except ValueError as error:
        raise _errors.BadRecordError(
            f"The image {image!r} is not read: {error}."
        ) from error
    return pixels if is_turned else turn(pixels, orientation)


def check_num_channels(owner: str, num_channels: int | None) -> None:
    """Raises `DataError` unless it is 1, 3, 4 or `None`."""
    if num_channels not in (None, *_MODES):
        raise _errors.DataError(
            f"{owner}: `num_channels` is 1, 3 or 4: got {num_channels}."
        )


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns pixels `[h w ...]` turned and mirrored as an EXIF orientation says.

    Reference: CIPA DC-008 (EXIF 2.32), tag Orientation.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _pixels(
    image: Image.Image, num_channels: int | None, as_stored: bool, raw_mode: str
) -> np.ndarray:
    dtype = _32_BITS.get(image.mode)
    # 16-bit grey has its own mode, or that of 32 bits in older versions of Pillow.
    if image.mode.startswith("I;16") or (dtype and raw_mode in ("I;16", "I;16B")):
        values = np.asarray(image).astype(np.uint16)[..., None]
        return _to_channels(values, num_channels, as_stored)
    if dtype is None:
        return _convert(image, num_channels)
    if not as_stored:
        raise ValueError(
            f"its mode {image.mode!r} is {dtype} without a known range. Read it with "
            "`as_stored=True`, or save it with 8 or 16 bits"
        )
    values = np.asarray(image).astype(dtype)[..., None]
    return _to_channels(values, num_channels, as_stored)


def _convert(image: Image.Image, num_channels: int | None) -> np.ndarray:
    if num_channels is None:
        is_grey = image.mode in _GREY
        num_channels = 4 if image.has_transparency_data else 1 if is_grey else 3
    if image.mode == "LAB":
        image = image.convert("RGB")
    mode = _MODES[num_channels]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _to_channels(
    values: np.ndarray, num_channels: int | None, as_stored: bool
) -> np.ndarray:
    """Returns values of more than 8 bits, `u16[h w c]` scaled unless stored."""
    from PIL import Image

    if as_stored:
        if num_channels not in (None, values.shape[-1]):
            raise ValueError(
                f"it has {values.shape[-1]} channels of {values.dtype}, which "
                f"`as_stored=True` does not convert to {num_channels}"
            )
        return values
    # As 257 is odd there are no ties: this is `rint(v / 257)`.
    scaled = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if num_channels in (None, scaled.shape[-1]):
        return scaled
    squeezed = scaled[..., 0] if scaled.shape[-1] == 1 else scaled
    return _convert(Image.fromarray(squeezed), num_channels)


def _16_bit_colours(
    path: str | os.PathLike[str] | BinaryIO, image: Image.Image, raw_mode: str
) -> np.ndarray:
    """Returns `u16[h w c]` of an image whose high bytes Pillow has read."""
    from PIL import Image

    # Pillow reads the high byte of each value. The low one is the high one of the other
    # byte order; grey with alpha it unpacks from pairs, which are four bytes.
    with Image.open(path) as again:
        wanted = "RGBA" if raw_mode.startswith("LA") else _other_order(raw_mode)
        again.tile = [
            tile._replace(args=_with_raw_mode(tile.args, wanted)) for tile in again.tile
        ]
        try:
            low = np.asarray(again).astype(np.uint16)
        except ValueError:
            raise ValueError(
                f"its layout {raw_mode!r} of 16 bits is not read. Save it with 8"
            ) from None
    if raw_mode.startswith("LA"):
        grey, alpha = low[..., 0] * 256 + low[..., 1], low[..., 2] * 256 + low[..., 3]
        return np.stack([grey, grey, grey, alpha], axis=-1)
    return np.asarray(image).astype(np.uint16) * 256 + low


def _name_of(path: str | os.PathLike[str] | BinaryIO) -> str:
    return os.fspath(path) if isinstance(path, str | os.PathLike) else "in memory"


def _raw_mode(image: Any) -> str:
    """Returns how the pixels are stored in the file; `""` if unknown."""
    args = image.tile[0][3] if getattr(image, "tile", None) else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _with_raw_mode(args: Any, raw_mode: str) -> Any:
    return (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode


def _other_order(raw_mode: str) -> str:
    native = "L" if sys.byteorder == "little" else "B"
    order = native if raw_mode[-1] == "N" else raw_mode[-1]
    return raw_mode[:-1] + ("B" if order == "L" else "L")


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1  # damaged EXIF data: the picture is fine without
    return found if isinstance(found, int) else 1
