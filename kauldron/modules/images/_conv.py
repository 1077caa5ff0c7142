"""Convolutions that pad as PyTorch's networks do, and count biases in f32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _logical_axes, _train_property
from kauldron.modules.images import _spatial, _volume_conv

Initializer = Callable[..., jax.Array]

default_kernel_init = nn.initializers.lecun_normal()


class Conv(nn.Module):
    """Convolution in as many dimensions as the kernel has.

    By default `dilation * (kernel - 1) // 2` zeros are added on both sides of each axis,
    as in `torch.nn.Conv2d(..., padding=(kernel - 1) // 2)`: an odd kernel gives
    `ceil(n / stride)` positions, and a kernel of 2 with stride 2 is not padded. XLA's
    `"SAME"` would put more zeros on the right, so that weights of PyTorch give other
    numbers if there are strides.

    Attributes:
      features: Channels of the output.
      kernel_size: One size for each spatial axis; their number is that of the axes.
      strides: Of all axes, or of each.
      kernel_dilation: Likewise.
      feature_group_count: Groups of channels that don't see each other.
      padding: Zeros on both sides of all axes, or of each, if not as above.
      use_bias: Whether there is a bias.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      kernel_init: Of the kernel, `*kernel_size in features`.
      bias_init: Of the bias.

    Raises:
      ValueError: If channels don't divide into the groups.
    """

    features: int
    kernel_size: Sequence[int]
    strides: _spatial.PerAxis = 1
    kernel_dilation: _spatial.PerAxis = 1
    feature_group_count: int = 1
    padding: _spatial.PerAxis | None = None
    use_bias: bool = True
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *m {self.features}"]:
        num_axes = _spatial.count_axes(self.kernel_size)
        _spatial.check_rank(inputs, num_axes, type(self).__name__)
        channels, groups = inputs.shape[-1], self.feature_group_count
        if channels % groups or self.features % groups:
            raise ValueError(
                f"`feature_group_count` must divide the channels: got {groups} groups, "
                f"{channels} channels and `features={self.features}`."
            )
        names = (*[None] * num_axes, "conv_in", "conv_out")
        kernel = self.param(
            "kernel",
            _logical_axes.with_logical_axes(self.kernel_init, names),
            (*self.kernel_size, channels // groups, self.features),
            self.param_dtype,
        )
        kernel = self._used(kernel)
        dilation = _spatial.per_axis(self.kernel_dilation, num_axes, "kernel_dilation")
        if self.padding is None:
            sizes = zip(self.kernel_size, dilation, strict=True)
            padding = tuple(d * (k - 1) // 2 for k, d in sizes)
        else:
            pads = self.padding
            padding = (pads,) * num_axes if isinstance(pads, int) else tuple(pads)
        x, kernel = dtypes.promote_dtype(inputs, kernel, dtype=self.dtype)
        y = _convolve(
            x,
            kernel,
            num_axes,
            window_strides=_spatial.per_axis(self.strides, num_axes, "strides"),
            padding=[(p, p) for p in padding],
            rhs_dilation=dilation,
            feature_group_count=groups,
        )
        return _add_bias(self, y) if self.use_bias else y

    @nn.nowrap
    def _used(self, kernel: jax.Array) -> jax.Array:
        return kernel


class SpectralConv(Conv):
    """Convolution whose kernel is divided by its largest singular value.

    The kernel is taken for a matrix `(*kernel_size in) features`. Each training pass makes
    one step of power iteration, from the vector `u` in the collection `batch_stats`.

    Reference: Miyato et al. 2018, Spectral Normalization for GANs, arXiv:1802.05957.
    """

    is_training = _train_property.train_property()

    @nn.nowrap
    def _used(self, kernel: jax.Array) -> jax.Array:
        matrix = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
        matrix = matrix.reshape(-1, self.features)
        stored = self.variable(
            "batch_stats",
            "u",
            lambda: jax.random.normal(self.make_rng("params"), (self.features,)),
        )
        u = stored.value
        if self.is_training:
            u = _unit(_unit(matrix @ u) @ matrix)
            if not self.is_initializing():
                stored.value = u
        u = jax.lax.stop_gradient(_unit(u))
        v = jax.lax.stop_gradient(_unit(matrix @ u))
        return kernel / jnp.maximum(v @ matrix @ u, 1e-12).astype(kernel.dtype)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


class ConvTranspose(nn.Module):
    """Transposed convolution: as many times larger as the strides say.

    It is the gradient of a convolution by its input, as in PyTorch: with a kernel as
    large as the stride, each position becomes a block of its own; a larger one is
    cropped as `torch.nn.ConvTranspose2d(..., padding=(kernel - 1) // 2,
    output_padding=...)` is, so that the output has exactly `n * stride` positions.

    Attributes:
      features: Channels of the output.
      kernel_size: One size for each spatial axis, none below the stride.
      strides: Of all axes, or of each.
      use_bias: Whether there is a bias.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      kernel_init: Of the kernel, `*kernel_size in features`: as in Flax, PyTorch's with
        its spatial axes reversed.
      bias_init: Of the bias.

    Raises:
      ValueError: If a stride is larger than the kernel: there would be holes.
    """

    features: int
    kernel_size: Sequence[int]
    strides: _spatial.PerAxis = 2
    use_bias: bool = True
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *m {self.features}"]:
        num_axes = _spatial.count_axes(self.kernel_size)
        _spatial.check_rank(inputs, num_axes, type(self).__name__)
        strides = _spatial.per_axis(self.strides, num_axes, "strides")
        pairs = list(zip(self.kernel_size, strides, strict=True))
        if any(k < s for k, s in pairs):
            raise ValueError(
                "A transposed convolution needs a kernel at least as large as its "
                f"stride: got kernel_size={tuple(self.kernel_size)}, strides={strides}."
            )
        names = (*[None] * num_axes, "conv_in", "conv_out")
        kernel = self.param(
            "kernel",
            _logical_axes.with_logical_axes(self.kernel_init, names),
            (*self.kernel_size, inputs.shape[-1], self.features),
            self.param_dtype,
        )
        x, kernel = dtypes.promote_dtype(inputs, kernel, dtype=self.dtype)
        # All positions that a kernel touches are (n - 1) * stride + kernel: `kernel -
        # stride` too many, of which PyTorch crops `(kernel - 1) // 2` on the left.
        low = [(k - 1) // 2 if k > s else 0 for k, s in pairs]
        padding = [(k - 1 - p, s - 1 + p) for (k, s), p in zip(pairs, low, strict=True)]
        y = _convolve(
            x,
            kernel,
            num_axes,
            window_strides=(1,) * num_axes,
            padding=padding,
            lhs_dilation=strides,
        )
        return _add_bias(self, y) if self.use_bias else y


def _convolve(
    x: jax.Array, kernel: jax.Array, num_axes: int, **kwargs: Any
) -> jax.Array:
    """Convolves arrays with channels last and any number of leading axes."""
    leading = x.shape[: x.ndim - num_axes - 1]
    flat = x.reshape(math.prod(leading), *x.shape[len(leading) :])
    if num_axes == 3:
        y = _volume_conv.convolve(flat, kernel, **kwargs)
    else:
        spatial = "DHW"[-num_axes:]
        dims = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
        y = jax.lax.conv_general_dilated(flat, kernel, dimension_numbers=dims, **kwargs)
    return y.reshape(*leading, *y.shape[1:])


def _add_bias(module: Conv | ConvTranspose, y: jax.Array) -> jax.Array:
    bias = module.param(
        "bias",
        _logical_axes.with_logical_axes(module.bias_init, ("conv_out",)),
        (module.features,),
        module.param_dtype,
    )
    # In f32, because the gradient of a bias is a sum over all positions, in the dtype
    # of this addition: a sum in bf16 stops growing.
    dtype = jnp.promote_types(y.dtype, jnp.float32)
    bias = bias.astype(dtype).reshape((1,) * (y.ndim - 1) + (-1,))
    return (y.astype(dtype) + bias).astype(y.dtype)
