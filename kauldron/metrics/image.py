"""Image similarity as functions: PSNR and SSIM."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Float, Scalar, typechecked
from kauldron.metrics import arrays

_MIN_MSE = 1e-10  # identical images get 100 dB, not infinity


@typechecked
def rescale_image(
    image: Array["*a"] | Scalar,
    in_vrange: tuple[float, float] = (0.0, 1.0),
    out_vrange: tuple[float, float] = (0.0, 1.0),
    clip: bool | tuple[float, float] | None = None,
) -> jax.Array:
    """Maps a range of values to another one linearly.

    Args:
      image: Any shape and dtype; computed in f32 at least.
      in_vrange: Values that become the ends of `out_vrange`.
      out_vrange: What they become.
      clip: Bounds that input values are clipped to first; `True` means `in_vrange`.

    Raises:
      ValueError: If `in_vrange` is empty.
    """
    low, high = in_vrange
    if not low < high:
        raise ValueError(f"`in_vrange` must be (low, high): got {in_vrange}.")
    image = arrays.to_float(image)
    if clip is not None and clip is not False:
        image = jnp.clip(image, *(in_vrange if clip is True else clip))
    out_low, out_high = out_vrange
    return (image - low) / (high - low) * (out_high - out_low) + out_low


@typechecked
def psnr(
    pred: Array["*b h w c"],
    target: Array["*b h w c"],
    *,
    in_vrange: tuple[float, float] = (0.0, 1.0),
    clip: bool | tuple[float, float] | None = None,
) -> Float["*b 1"]:
    """Returns the peak signal-to-noise ratio of each image in dB, `Float["*b 1"]`.

    Args:
      pred: Images, `Array["*b h w c"]`.
      target: Images of the same shape.
      in_vrange: Range of the values; the peak is its width.
      clip: As in `rescale_image`.

    Raises:
      ValueError: If these are no such images.
    """
    check_images("PSNR", pred, target, min_size=1)
    pred, target = (rescale_image(x, in_vrange, clip=clip) for x in (pred, target))
    mse = jnp.mean(jnp.square(pred - target), axis=(-3, -2, -1))
    return -10 * jnp.log10(jnp.maximum(mse, _MIN_MSE))[..., None]


@typechecked
def ssim(
    pred: Array["*b h w c"],
    target: Array["*b h w c"],
    *,
    in_vrange: tuple[float, float] = (0.0, 1.0),
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Float["*b 1"]:
    """Returns the structural similarity of each image, in [-1, 1], `Float["*b 1"]`.

    Mean over channels and over the windows that lie inside the image.

    Args:
      pred: Images, `Array["*b h w c"]`, at least `filter_size` pixels high and wide.
      target: Images of the same shape.
      in_vrange: Range of the values.
      filter_size: Size of the Gaussian window in pixels.
      filter_sigma: Standard deviation of the window in pixels.
      k1: Stabilises the comparison of means, relative to the range.
      k2: Stabilises the comparison of variances, relative to the range.

    Raises:
      ValueError: If these are no such images.

    Reference: Wang et al. 2004, Image Quality Assessment: From Error Visibility to
    Structural Similarity, eq. 13.
    """
    check_images("SSIM", pred, target, min_size=filter_size)
    x, y = (rescale_image(image, in_vrange) for image in (pred, target))
    offsets = np.arange(filter_size) - (filter_size - 1) / 2
    weights = np.exp(-0.5 * (offsets / filter_sigma) ** 2)
    weights = (weights / weights.sum()).astype(x.dtype)

    def blur(image: jax.Array) -> jax.Array:
        return _blur(_blur(image, weights, axis=-3), weights, axis=-2)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = k1**2, k2**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return (numerator / denominator).mean(axis=(-3, -2, -1))[..., None]


def _blur(image: jax.Array, weights: np.ndarray, *, axis: int) -> jax.Array:
    """Returns weighted sums over the windows of an axis that lie inside."""
    moved = jnp.moveaxis(image, axis, -1)
    num_rows = int(np.prod(moved.shape[:-1]))  # `-1` would not do without images
    rows = moved.reshape(num_rows, 1, moved.shape[-1])
    blurred = jax.lax.conv_general_dilated(
        rows,
        jnp.asarray(weights)[None, None],
        window_strides=(1,),
        padding="VALID",
        precision=jax.lax.Precision.HIGHEST,  # variances are small differences
    )
    blurred = blurred.reshape(*moved.shape[:-1], blurred.shape[-1])
    return jnp.moveaxis(blurred, -1, axis)


def check_images(name: str, pred: Array, target: Array, *, min_size: int) -> None:
    """Raises `ValueError` unless both are images of one shape, not too small."""
    if pred.shape != target.shape:
        raise ValueError(
            f"{name} compares images of the same shape: got {pred.shape} and "
            f"{target.shape}."
        )
    if pred.ndim < 3 or min(pred.shape[-3:-1]) < min_size:
        raise ValueError(
            f"{name} needs images `[*b h w c]` of at least {min_size} x {min_size} "
            f"pixels: got shape {pred.shape}."
        )
