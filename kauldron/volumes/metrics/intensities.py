"""How alike two volumes of intensities are: PSNR and SSIM, with the range said."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import numpy as np

from kauldron import metrics
from kauldron.ktyping import Array
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.metrics import _regions

Window = Literal["3d", "2d"]


def psnr(a: Array, b: Array, *, data_range: float, mask: Array | None = None) -> float:
    """Returns the peak signal-to-noise ratio of two volumes in dB.

    `10 log10(data_range**2 / mean((a - b)**2))`, computed in f64; inf if they are equal,
    NaN if nothing counts.

    Args:
      a: Intensities `[z y x]`, any dtype.
      b: Intensities of the same shape.
      data_range: Width of the range of the values, such as 255, or 4000 for a CT of
        Hounsfield units. It is never guessed: that of the dtype is rarely meant.
      mask: The voxels that count.

    Raises:
      VolumeError: If the shapes differ, or the range is not above 0.
    """
    check_range(data_range)
    a, b = _regions.as_pair(a, b)
    squares = np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    if mask is not None:
        squares = squares[np.reshape(mask, a.shape).astype(bool)]
    if not squares.size:
        return np.nan
    return float(psnr_of(squares.mean(), data_range))


def ssim(
    a: Array,
    b: Array,
    *,
    data_range: float,
    window: Window = "3d",
    mask: Array | None = None,
) -> float:
    """Returns the structural similarity of two volumes, in [-1, 1].

    Gaussian windows of 11 voxels with a standard deviation of 1.5, population variances;
    the mean over the windows that lie inside. NaN if there are none.

    Args:
      a: Intensities `[z y x]`, any dtype, at least 11 voxels along the axes of a window.
      b: Intensities of the same shape.
      data_range: Width of the range of the values, never guessed: it changes the value a
        lot.
      window: `'3d'` for cubes; `'2d'` for squares in each slice along z, which gives
        another value.
      mask: The voxels that count: of the windows, those around them.

    Raises:
      VolumeError: If the shapes differ, or the range is not above 0.
      ValueError: If the volumes are smaller than the window.

    Reference: Wang et al. 2004, Image Quality Assessment: From Error Visibility to
      Structural Similarity.
    """
    check_range(data_range)
    a, b = _regions.as_pair(a, b)
    values = similarity(a[..., None], b[..., None], data_range, window)
    values = np.asarray(values)[..., 0]
    if mask is not None:
        values = values[inside(np.reshape(mask, a.shape), window).astype(bool)]
    return float(values.mean(dtype=np.float64)) if values.size else np.nan


def similarity(a: Array, b: Array, data_range: float, window: Window) -> Any:
    """Returns the similarity of the windows inside, `f[*b z' y' x' c]`."""
    if window not in ("3d", "2d"):
        raise ValueError(f"`window` is '3d' or '2d': got {window!r}.")
    num_spatial_dims = 3 if window == "3d" else 2
    return _similarity(a, b, float(data_range), num_spatial_dims)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _similarity(a: Any, b: Any, data_range: float, num_spatial_dims: int) -> Any:
    return metrics.image.ssim_map(
        a, b, in_vrange=(0.0, data_range), num_spatial_dims=num_spatial_dims
    )


def inside(x: Any, window: Window) -> Any:
    """Returns what lies at the centres of the windows inside, of `[*b z y x]`."""
    inner = slice(5, -5)
    return x[..., inner, inner, inner] if window == "3d" else x[..., inner, inner]


def psnr_of(mean_square: Any, data_range: float) -> Any:
    """Returns the ratio in dB; inf for no error."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / np.asarray(mean_square, np.float64))


def check_range(data_range: float) -> None:
    """Raises VolumeError unless a range is above 0."""
    if not data_range > 0:
        raise VolumeError(
            "`data_range` is the width of the range of the values, above 0: got "
            f"{data_range!r}."
        )
