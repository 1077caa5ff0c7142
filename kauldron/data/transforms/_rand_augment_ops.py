"""The RandAugment operations on uint8 images, with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors

if TYPE_CHECKING:
    from PIL import Image


def apply(
    pixels: np.ndarray,
    layers: Sequence[tuple[int, bool]],
    *,
    strength: float,
    fill: int,
) -> np.ndarray:
    """Applies operations to an image, `u8[h w c]`.

    Args:
      pixels: The image, with 1 or 3 channels.
      layers: Indices into `OPERATIONS`, and whether the effect is negated.
      strength: In [0, 1].
      fill: Value of pixels from outside.
    """
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3):
        raise _errors.DataError(
            "RandAugment works on bytes [h w 3] or [h w 1]: got "
            f"{pixels.dtype}{list(pixels.shape)}. Put it before `kd.data.ValueRange`."
        )
    squeezed = np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image = Image.fromarray(squeezed)
    for index, negate in layers:
        image = OPERATIONS[index](image, strength, -1 if negate else 1, fill)
    return np.asarray(image).reshape(pixels.shape)


def _identity(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
    del strength, sign, fill
    return image


def _auto_contrast(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
    from PIL import ImageOps

    del strength, sign, fill
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
    from PIL import ImageOps

    del strength, sign, fill
    return ImageOps.equalize(image)


def _solarize(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
    from PIL import ImageOps

    del sign, fill
    return ImageOps.solarize(image, int(256 - strength * 256))


def _posterize(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
    from PIL import ImageOps

    del sign, fill
    return ImageOps.posterize(image, 8 - round(strength * 4))


def _rotate(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
    return image.rotate(sign * strength * 30, fillcolor=_fill(image, fill))


def _enhance(name: str) -> Callable[[Any, float, int, int], Any]:
    def enhance(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
        from PIL import ImageEnhance

        del fill
        return getattr(ImageEnhance, name)(image).enhance(1 + sign * strength * 0.9)

    return enhance


def _affine(
    shear: tuple[float, float] = (0, 0), shift: tuple[float, float] = (0, 0)
) -> Callable[[Any, float, int, int], Any]:
    def transform(image: Image.Image, strength: float, sign: int, fill: int) -> Any:
        from PIL import Image

        amount = sign * strength
        width, height = image.size
        matrix = (
            *(1, amount * shear[0], amount * shift[0] * width),
            *(amount * shear[1], 1, amount * shift[1] * height),
        )
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            matrix,
            fillcolor=_fill(image, fill),
        )

    return transform


def _fill(image: Image.Image, fill: int) -> Any:
    return (fill,) * 3 if image.mode == "RGB" else fill


OPERATIONS: tuple[Callable[[Any, float, int, int], Any], ...] = (
    _identity,
    _auto_contrast,
    _equalize,
    _rotate,
    _solarize,
    _enhance("Color"),
    _posterize,
    _enhance("Contrast"),
    _enhance("Brightness"),
    _enhance("Sharpness"),
    _affine(shear=(0.3, 0)),
    _affine(shear=(0, 0.3)),
    _affine(shift=(0.45, 0)),
    _affine(shift=(0, 0.45)),
)
