"""Down- and upsampling: pooling, strides, transposed convolution, interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron._base import errors
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules.images import _conv, _spatial

Down = Literal["conv", "max", "average"]
Up = Literal["transposed", "nearest", "linear"]


def pool(x: jax.Array, window: Sequence[int], method: str) -> jax.Array:
    """Maximum or mean over windows side by side; what is left at the end is dropped."""
    pooling = {"max": nn.max_pool, "average": nn.avg_pool}[method]
    return pooling(x, tuple(window), strides=tuple(window))


class Downsample(nn.Module):
    """Makes an array smaller, by pooling or by a strided convolution.

    Attributes:
      strides: How many times smaller; one number for each spatial axis.
      method: `"max"` or `"average"` of windows as large as the strides (what doesn't
        fill a window is dropped); `"conv"`, a convolution.
      features: Channels of the output, for `"conv"`; `None` keeps them.
      kernel_size: Of the convolution; `None` is 3 on axes that become smaller, else 1.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
    """

    strides: Sequence[int]
    method: Down = "max"
    features: int | None = None
    kernel_size: Sequence[int] | None = None
    dtype: DType | None = None
    param_dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *m d"]:
        _spatial.check_rank(inputs, len(self.strides), type(self).__name__)
        check_method(self.method, ("conv", "max", "average"))
        if self.method != "conv":
            return pool(inputs, self.strides, self.method)
        kernel_size = self.kernel_size or [3 if s > 1 else 1 for s in self.strides]
        return _conv.Conv(
            self.features or inputs.shape[-1],
            tuple(kernel_size),
            strides=tuple(self.strides),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="conv",
        )(inputs)


class Upsample(nn.Module):
    """Makes an array larger, by a transposed convolution or by interpolation.

    Attributes:
      strides: How many times larger; one number for each spatial axis.
      method: `"transposed"`, a convolution with a kernel as large as the strides;
        `"nearest"` or `"linear"` interpolation (positions are centres of cells, as in
        `torch.nn.Upsample` with `align_corners=False`).
      features: Channels of the output; `None` keeps them. After an interpolation, a
        convolution of size 1 changes them.
      use_bias: Whether convolutions have a bias.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
    """

    strides: Sequence[int]
    method: Up = "transposed"
    features: int | None = None
    use_bias: bool = True
    dtype: DType | None = None
    param_dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *m d"]:
        num_axes = len(self.strides)
        _spatial.check_rank(inputs, num_axes, type(self).__name__)
        check_method(self.method, ("transposed", "nearest", "linear"))
        strides = tuple(self.strides)
        kwargs = {
            "use_bias": self.use_bias,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "name": "conv",
        }
        features = self.features or inputs.shape[-1]
        if self.method == "transposed":
            conv = _conv.ConvTranspose(features, strides, strides=strides, **kwargs)
            return conv(inputs)
        x = interpolate(inputs, strides, self.method)
        if self.features is None:
            return x
        return _conv.Conv(features, (1,) * num_axes, **kwargs)(x)


def interpolate(x: jax.Array, factors: Sequence[int], method: str) -> jax.Array:
    """Makes the axes before the last one `factors` times larger."""
    *leading, channels = x.shape
    start = len(leading) - len(factors)
    sizes = [n * f for n, f in zip(leading[start:], factors, strict=True)]
    return jax.image.resize(x, (*leading[:start], *sizes, channels), method)


def check_method(method: str, methods: Sequence[str]) -> None:
    """Raises `ValueError` if the method is not one of those."""
    if method not in methods:
        raise ValueError(
            f"There is no method {method!r}.{errors.did_you_mean(method, methods)} "
            f"There are {', '.join(methods)}."
        )
