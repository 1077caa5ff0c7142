"""Convolutional blocks: plain, residual, bottleneck, squeeze-excitation, gate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _activations, _dropout, _norms
from kauldron.modules.images import _conv, _resampling, _spatial


class ConvBlock(nn.Module):
    """Convolution, norm, activation, dropout, in 1, 2 or 3 dimensions.

    Attributes:
      features: Channels of the output.
      kernel_size: One size for each spatial axis; their number is that of the axes. See
        `kd.nn.Conv` for how edges are padded.
      strides: Of all axes, or of each.
      kernel_dilation: Likewise.
      feature_group_count: Groups of channels that don't see each other.
      norm: `"batch"`, `"instance"`, `"group"`, `"layer"`, `"rms"`, `None`, or a module.
      activation: A name, a function, a module or `None`.
      dropout_rate: In training, the share of values that become zero.
      use_bias: Whether the convolution has a bias.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      kernel_init: Of the kernel.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: _spatial.PerAxis = 1
    kernel_dilation: _spatial.PerAxis = 1
    feature_group_count: int = 1
    norm: _norms.Norm = "instance"
    activation: _activations.Activation = "relu"
    dropout_rate: float = 0.0
    use_bias: bool = True
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    kernel_init: _conv.Initializer = _conv.default_kernel_init

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *m {self.features}"]:
        num_axes = _spatial.count_axes(self.kernel_size)
        _spatial.check_rank(inputs, num_axes, type(self).__name__)
        x = _conv.Conv(
            self.features,
            self.kernel_size,
            strides=self.strides,
            kernel_dilation=self.kernel_dilation,
            feature_group_count=self.feature_group_count,
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            name="conv",
        )(inputs)
        x = _norms.make_norm(
            self.norm,
            owner=self,
            num_spatial_axes=num_axes,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="norm",
        )(x)
        x = _activations.make_activation(
            self.activation, owner=self, param_dtype=self.param_dtype, name="activation"
        )(x)
        if self.dropout_rate:
            x = _dropout.Dropout(self.dropout_rate)(x)
        return x


class ResidualBlock(nn.Module):
    """Convolutions whose result is added to the input, then an activation.

    The branch is `conv1`, `conv2` (basic) or `conv1` of size 1, `conv2`, `conv3` of size
    1 (bottleneck); the last has no activation before the sum. Strides are those of the
    first convolution whose kernel is not 1. If sizes differ, the input is projected by a
    convolution of size 1, without bias and with a norm.

    Attributes:
      features: Channels of the output.
      kernel_size: One size for each spatial axis; their number is that of the axes.
      strides: Of all axes, or of each.
      bottleneck_features: Channels within a bottleneck; `None` is a basic block.
      shortcut: How the input becomes smaller: `"conv"` by the stride of the projection
        (ResNet), `"pool"` by averages before it (ResNet-D; then there is no projection
        if only the strides differ).
      norm: See `kd.nn.ConvBlock`.
      activation: Likewise.
      dropout_rate: After the activation of the first convolution.
      use_bias: Whether convolutions of the branch have a bias.
      squeeze_ratio: Channels within squeeze-excitation of the branch, as a share of
        all; 0 is none.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      kernel_init: Of the kernels.

    References: He et al. 2016, Deep Residual Learning, arXiv:1512.03385; He et al. 2019,
    Bag of Tricks (ResNet-D), arXiv:1812.01187.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: _spatial.PerAxis = 1
    bottleneck_features: int | None = None
    shortcut: Literal["conv", "pool"] = "conv"
    norm: _norms.Norm = "batch"
    activation: _activations.Activation = "relu"
    dropout_rate: float = 0.0
    use_bias: bool = False
    squeeze_ratio: float = 0.0
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    kernel_init: _conv.Initializer = _conv.default_kernel_init

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *m {self.features}"]:
        num_axes = _spatial.count_axes(self.kernel_size, is_odd=True)
        _spatial.check_rank(inputs, num_axes, type(self).__name__)
        branch = self._branch(inputs)
        x = self._shortcut(inputs) + branch
        return _activations.make_activation(
            self.activation, owner=self, param_dtype=self.param_dtype, name="activation"
        )(x)

    @nn.nowrap
    def _branch(self, x: jax.Array) -> jax.Array:
        middle = self.bottleneck_features
        if middle is None:
            x = self._conv(
                "conv1", strides=self.strides, dropout_rate=self.dropout_rate
            )(x)
            x = self._conv("conv2", activation=None)(x)
        else:
            point = (1,) * len(self.kernel_size)
            x = self._conv("conv1", features=middle, kernel_size=point)(x)
            x = self._conv(
                "conv2",
                features=middle,
                strides=self.strides,
                dropout_rate=self.dropout_rate,
            )(x)
            x = self._conv("conv3", kernel_size=point, activation=None)(x)
        if self.squeeze_ratio:
            x = SqueezeExcitation(
                num_spatial_axes=len(self.kernel_size),
                ratio=self.squeeze_ratio,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name="squeeze_excitation",
            )(x)
        return x

    @nn.nowrap
    def _shortcut(self, x: jax.Array) -> jax.Array:
        num_axes = len(self.kernel_size)
        strides = _spatial.per_axis(self.strides, num_axes, "strides")
        if self.shortcut == "pool" and math.prod(strides) > 1:
            x = _resampling.pool(x, strides, "average")
            strides = (1,) * num_axes
        if math.prod(strides) == 1 and x.shape[-1] == self.features:
            return x
        return self._conv(
            "shortcut",
            kernel_size=(1,) * num_axes,
            strides=strides,
            activation=None,
            use_bias=False,
        )(x)

    @nn.nowrap
    def _conv(self, name: str, **changes: Any) -> ConvBlock:
        kwargs: dict[str, Any] = {
            "features": self.features,
            "kernel_size": self.kernel_size,
            "norm": self.norm,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "kernel_init": self.kernel_init,
        }
        return ConvBlock(**{**kwargs, **changes}, name=name)


class SqueezeExcitation(nn.Module):
    """Scales channels by a gate that sees the mean of each channel over all positions.

    Attributes:
      num_spatial_axes: Axes before the channels that are positions.
      ratio: Channels between the two layers, as a share of all: rounded to a multiple
        of `divisor`, and at least that.
      divisor: See `ratio`.
      activation: Between the layers.
      gate: Of the last layer.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.

    Reference: Hu et al. 2018, Squeeze-and-Excitation Networks, arXiv:1709.01507.
    """

    num_spatial_axes: int = 2
    ratio: float = 1 / 16
    divisor: int = 8
    activation: _activations.Activation = "relu"
    gate: _activations.Activation = "sigmoid"
    dtype: DType | None = None
    param_dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b *n c"]) -> Float["*b *n c"]:
        num_axes = self.num_spatial_axes
        _spatial.check_rank(inputs, num_axes, type(self).__name__)
        channels, step = inputs.shape[-1], self.divisor
        middle = max(step, int(channels * self.ratio + step / 2) // step * step)
        axes = tuple(range(-num_axes - 1, -1))
        x = jnp.mean(inputs, axes, keepdims=True)
        for name, features, activation in (
            ("squeeze", middle, self.activation),
            ("excite", channels, self.gate),
        ):
            x = _conv.Conv(
                features,
                (1,) * num_axes,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )(x)
            x = _activations.make_activation(
                activation, owner=self, name=f"{name}_activation"
            )(x)
        return _times(inputs, x)


class AttentionGate(nn.Module):
    """Scales the positions of a skip connection by what the coarser level looks for.

    Both arrays are projected and added; a ReLU, one channel and a sigmoid make a factor
    in (0, 1) for each position.

    Attributes:
      features: Channels of the projections.
      num_spatial_axes: Axes before the channels that are positions.
      norm: After each projection, and before the sigmoid.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.

    Reference: Oktay et al. 2018, Attention U-Net, arXiv:1804.03999. As in MONAI, the
    coarser array was upsampled before, so that nothing is resampled here.
    """

    features: int
    num_spatial_axes: int = 2
    norm: _norms.Norm = "batch"
    dtype: DType | None = None
    param_dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(
        self, skip: Float["*b *n c"], gating: Float["*b *n g"]
    ) -> Float["*b *n c"]:
        _spatial.check_rank(skip, self.num_spatial_axes, type(self).__name__)

        def project(x: jax.Array, features: int, name: str) -> jax.Array:
            return ConvBlock(
                features,
                (1,) * self.num_spatial_axes,
                norm=self.norm,
                activation=None,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )(x)

        x = project(skip, self.features, "skip")
        x = jax.nn.relu(x + project(gating, self.features, "gating"))
        factor = jax.nn.sigmoid(project(x, 1, "factor"))
        return _times(skip, factor)


def _times(x: jax.Array, factor: jax.Array) -> jax.Array:
    # In f32: the gradient of a factor that is broadcast is a sum over many positions.
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return (x.astype(dtype) * factor.astype(dtype)).astype(x.dtype)
