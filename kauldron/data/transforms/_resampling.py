"""Image resampling: weights as in `jax.image.resize`, applied with NumPy or Pillow.

An output pixel is a weighted sum of a few input pixels, its taps. Rows and columns are
separable, so the taps of each axis are applied one after the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import numpy as np

from kauldron.data import _errors

_METHODS = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "linear": "bilinear",
    "triangle": "bilinear",
    "bicubic": "bicubic",
    "cubic": "bicubic",
    "lanczos3": "lanczos3",
    "area": "area",
}
_RADIUS = {"bilinear": 1.0, "bicubic": 2.0, "lanczos3": 3.0}


# Pillow's names for images of bytes whose channels have nothing to do with each other.
# It would multiply those of RGBA by the fourth, and has no such name for two.
_PILLOW_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


def canonical_method(method: str | None, dtype: np.dtype) -> str:
    """Returns the method's name; without one, nearest for integers, else bilinear.

    Raises:
      DataError: If there is no such method.
    """
    if method is None:
        return "nearest" if dtype.kind in "iub" else "bilinear"
    name = getattr(method, "name", method)  # enums such as `jax.image.ResizeMethod`
    found = _METHODS.get(str(name).lower())
    if found is None:
        raise _errors.DataError(
            f"{method!r} is no resize method. Use one of {sorted(_METHODS)}."
        )
    return found


def resize(
    images: np.ndarray,
    size: tuple[int, int],
    *,
    method: str | None = None,
    antialias: bool = True,
) -> np.ndarray:
    """Returns images of another size, of the same dtype.

    Every channel is resized as if it were alone. Integers are rounded to the nearest, and
    stay within their range; the arithmetic is in f32, or f64 for f64 and integers of 32
    bits or more. Bools are taken as 0 and 1: true is what comes out above one half. A NaN
    or infinity reaches only those pixels that it has a part in. 'nearest' copies values,
    of any dtype.

    'bilinear' of bytes is done by Pillow, which may differ from the exact result by 1.

    Args:
      images: `[*b h w c]`.
      size: New height and width.
      method: See `canonical_method`.
      antialias: Whether to average over all pixels that shrink into one.

    Raises:
      DataError: If the images have no axes h, w, c or no pixels, hold no real numbers, or
        the size is not positive.
    """
    if images.ndim < 3:
        raise _errors.DataError(
            f"Images have axes h, w, c (channels last): got shape {images.shape}. Add "
            "the channel with `kd.data.Rearrange(pattern='h w -> h w 1')`."
        )
    if min(size) < 1:
        raise _errors.DataError(f"An image size is positive: got {tuple(size)}.")
    if images.shape[-3:-1] == tuple(size):
        return images
    if 0 in images.shape[-3:-1]:
        raise _errors.DataError(f"An image without pixels: got shape {images.shape}.")
    method = canonical_method(method, images.dtype)
    if method == "nearest":
        rows = _nearest(images.shape[-3], size[0])
        columns = _nearest(images.shape[-2], size[1])
        return images.take(rows, axis=-3).take(columns, axis=-2)
    is_picture = images.dtype == np.uint8 and images.shape[-1] in _PILLOW_MODES
    if is_picture and antialias and method == "bilinear":
        return _with_pillow(images, size)
    values = images.astype(_compute_dtype(images.dtype, method))
    for axis, length in zip((-3, -2), size, strict=True):
        indices, weights = _taps(values.shape[axis], length, method, antialias)
        values = _apply_taps(values, indices, weights, axis)
    return _rounded(values, images.dtype)


def crop_and_resize(
    image: np.ndarray,
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    method: str | None,
) -> np.ndarray:
    """Returns a part of one image `[h w c]` at another size.

    Args:
      image: The image.
      box: Top, left, height, width.
      size: New height and width.
      method: See `canonical_method`.
    """
    top, left, height, width = box
    part = image[..., top : top + height, left : left + width, :]
    return resize(part, size, method=method)


def _compute_dtype(dtype: np.dtype, method: str) -> type[np.floating]:
    is_number = dtype.kind in "biuf" or np.can_cast(dtype, np.float32)  # bf16
    if not is_number:
        raise _errors.DataError(
            f"Images hold real numbers: {method!r} cannot resize {dtype}. Use "
            "`method='nearest'`, or convert them with `kd.data.Cast`."
        )
    is_wide = dtype.kind in "iuf" and dtype.itemsize >= (4 if dtype.kind in "iu" else 8)
    return np.float64 if is_wide else np.float32


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return values > 0.5
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        # The largest float that the dtype holds: that of 2**63 - 1 would be 2**63.
        highest = values.dtype.type(bounds.max)
        if int(highest) > bounds.max:
            highest = np.nextafter(highest, values.dtype.type(0))
        values = np.rint(values).clip(bounds.min, highest)
    return values.astype(dtype, copy=False)


def _nearest(num_in: int, num_out: int) -> np.ndarray:
    return ((np.arange(num_out) + 0.5) * num_in / num_out).astype(np.int64)


def _with_pillow(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # Several times as fast. Other methods overshoot, and Pillow would cut that off
    # between the axes.
    from PIL import Image

    *lead, _, _, channels = images.shape
    height, width = size
    flat = images.reshape(-1, *images.shape[-3:])
    out = np.empty((len(flat), *size, channels), np.uint8)
    mode, old_size = _PILLOW_MODES[channels], (images.shape[-2], images.shape[-3])
    for i, pixels in enumerate(flat):
        resized = Image.frombuffer(
            mode, old_size, np.ascontiguousarray(pixels), "raw", mode, 0, 1
        ).resize((width, height), Image.Resampling.BILINEAR)
        out[i] = np.asarray(resized).reshape(*size, channels)
    return out.reshape(*lead, *size, channels)


# Of numbers, such as those of a small image.
_SMALL = 2**14


def _apply_taps(
    values: np.ndarray, indices: np.ndarray, weights: np.ndarray, axis: int
) -> np.ndarray:
    shape = [1] * values.ndim
    shape[axis] = -1
    terms: Iterable[np.ndarray]
    if values.size * len(indices.T) <= _SMALL:
        # All taps at once, `[taps ...]`: each call of NumPy costs more than such numbers.
        taken = values.take(indices.T, axis=axis)
        first = values.ndim + axis
        # Not `moveaxis`, which takes longer than all the rest.
        taken = taken.transpose(first, *range(first), *range(first + 1, taken.ndim))
        terms = taken * weights.T.reshape(len(weights.T), *shape).astype(values.dtype)
    else:
        terms = (
            values.take(index, axis=axis) * weight.reshape(shape).astype(values.dtype)
            for index, weight in zip(indices.T, weights.T, strict=True)
        )
    total = None
    for term in terms:
        total = term if total is None else np.add(total, term, out=total)
    assert total is not None  # there is at least one tap
    return total


@functools.lru_cache(maxsize=512)
def _taps(
    num_in: int, num_out: int, method: str, antialias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the inputs of each output and their weights, both `[num_out, taps]`."""
    scale = num_in / num_out
    stretch = max(scale, 1.0) if antialias else 1.0
    centers = (np.arange(num_out) + 0.5) * scale - 0.5
    radius = (
        max(scale, 1.0) / 2 + 0.5 if method == "area" else _RADIUS[method] * stretch
    )
    num_taps = math.ceil(2 * radius) + 1
    first = np.ceil(centers - radius).astype(np.int64)
    indices = first[:, None] + np.arange(num_taps)
    distance = indices - centers[:, None]
    if method == "area":
        half = scale / 2
        overlap = np.minimum(distance + 0.5, half) - np.maximum(distance - 0.5, -half)
        weights = overlap.clip(min=0)
    else:
        weights = _KERNELS[method](np.abs(distance) / stretch)
    weights = np.where((indices < 0) | (indices >= num_in), 0.0, weights)
    weights /= weights.sum(axis=1, keepdims=True)
    # A tap without weight reads what the heaviest one reads: 0 * NaN would be NaN.
    heaviest = np.take_along_axis(indices, weights.argmax(axis=1)[:, None], axis=1)
    indices = np.where(weights == 0, heaviest, indices)
    used = np.any(weights != 0, axis=0)
    return indices[:, used], weights[:, used]


def _triangle(x: np.ndarray) -> np.ndarray:
    return (1 - x).clip(min=0)


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    # Keys 1981, a = -0.5.
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x >= 2, 0.0, np.where(x >= 1, far, near))


def _lanczos3(x: np.ndarray) -> np.ndarray:
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS = {"bilinear": _triangle, "bicubic": _keys_cubic, "lanczos3": _lanczos3}
