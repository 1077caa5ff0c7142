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
    pred: Array["*a"],
    target: Array["*a"],
    *,
    in_vrange: tuple[float, float] = (0.0, 1.0),
    clip: bool | tuple[float, float] | None = None,
    num_spatial_dims: int = 2,
) -> Float["*b 1"]:
    """Returns the peak signal-to-noise ratio of each image in dB, `Float["*b 1"]`.

    Args:
      pred: Images, `Array["*b h w c"]`.
      target: Images of the same shape.
      in_vrange: Range of the values; the peak is its width.
      clip: As in `rescale_image`.
      num_spatial_dims: 3 makes one value of each volume, `Array["*b z y x c"]`.

    Raises:
      ValueError: If these are no such images.
    """
    check_images("PSNR", pred, target, min_size=1, num_spatial_dims=num_spatial_dims)
    pred, target = (rescale_image(x, in_vrange, clip=clip) for x in (pred, target))
    axes = _axes_of(num_spatial_dims)
    mse = jnp.mean(jnp.square(pred - target), axis=(*axes, -1))
    return -10 * jnp.log10(jnp.maximum(mse, _MIN_MSE))[..., None]


@typechecked
def ssim(
    pred: Array["*a"],
    target: Array["*a"],
    *,
    in_vrange: tuple[float, float] = (0.0, 1.0),
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    num_spatial_dims: int = 2,
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
      num_spatial_dims: 3 makes one value of each volume, `Array["*b z y x c"]`, by
        windows that are cubes. Squares of all slices have another mean.

    Raises:
      ValueError: If these are no such images.

    Reference: Wang et al. 2004, Image Quality Assessment: From Error Visibility to
    Structural Similarity, eq. 13.
    """
    values = ssim_map(
        pred,
        target,
        in_vrange=in_vrange,
        filter_size=filter_size,
        filter_sigma=filter_sigma,
        k1=k1,
        k2=k2,
        num_spatial_dims=num_spatial_dims,
    )
    return values.mean(axis=(*_axes_of(num_spatial_dims), -1))[..., None]


@typechecked
def ssim_map(
    pred: Array["*a"],
    target: Array["*a"],
    *,
    in_vrange: tuple[float, float] = (0.0, 1.0),
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    num_spatial_dims: int = 2,
) -> Float["*windows"]:
    """Returns the similarity of each window inside of the image, what `ssim` averages.

    Each spatial axis is shorter by `filter_size - 1`.

    Raises:
      ValueError: If these are no such images.
    """
    check_images(
        "SSIM", pred, target, min_size=filter_size, num_spatial_dims=num_spatial_dims
    )
    x, y = (rescale_image(image, in_vrange) for image in (pred, target))
    offsets = np.arange(filter_size) - (filter_size - 1) / 2
    weights = np.exp(-0.5 * (offsets / filter_sigma) ** 2)
    weights = (weights / weights.sum()).astype(x.dtype)

    def blur(image: jax.Array) -> jax.Array:
        for axis in _axes_of(num_spatial_dims):
            image = _blur(image, weights, axis=axis)
        return image

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = k1**2, k2**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return numerator / denominator


def _axes_of(num_spatial_dims: int) -> tuple[int, ...]:
    return tuple(range(-num_spatial_dims - 1, -1))


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


def check_images(
    name: str, pred: Array, target: Array, *, min_size: int, num_spatial_dims: int = 2
) -> None:
    """Raises `ValueError` unless both are images of one shape, not too small."""
    if num_spatial_dims not in (2, 3):
        raise ValueError(
            f"`num_spatial_dims` of {name} is 2 or 3: got {num_spatial_dims!r}."
        )
    if pred.shape != target.shape:
        raise ValueError(
            f"{name} compares images of the same shape: got {pred.shape} and "
            f"{target.shape}."
        )
    too_few = pred.ndim <= num_spatial_dims
    if too_few or min(pred.shape[-num_spatial_dims - 1 : -1]) < min_size:
        axes = "*b h w c" if num_spatial_dims == 2 else "*b z y x c"
        size = " x ".join([str(min_size)] * num_spatial_dims)
        raise ValueError(
            f"{name} needs images `[{axes}]` of at least {size} pixels: got shape "
            f"{pred.shape}."
        )
