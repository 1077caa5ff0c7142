"""Residual U-Net: strided residual units down, transposed convolutions up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _activations, _norms
from kauldron.modules.images import _blocks, _conv, _levels, _spatial

_INSTANCE = nn.InstanceNorm(
    epsilon=1e-5, use_scale=False, use_bias=False, use_fast_variance=False
)


class ResidualUNet(nn.Module):
    """U-Net whose first level is strided already: light, and the `UNet` of MONAI.

    Each level down is a residual unit with strides; up, a transposed convolution and a
    residual unit of one convolution. Returns `{"logits": f[*b *n num_classes]}`.

    Attributes:
      num_classes: Channels of the logits.
      features: Channels of each level, from fine to coarse.
      kernel_size: One size for each spatial axis: their number is that of the axes.
      strides: Of all levels but the last, or a list with those of each: a number, or one
        for each spatial axis.
      num_res_units: Convolutions of a unit on the way down; 0 is one convolution, and no
        sums on either way.
      norm: See `kd.nn.ConvBlock`; by default an instance norm without scale and bias.
      activation: See `kd.nn.ConvBlock`.
      dropout_rate: Likewise.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `f[*b *n c]`; the spatial axes are multiples of
        `downsampling_factor`.

    Raises:
      ValueError: If there are more or fewer strides than levels but the last, or if the
        axes of an image don't divide.

    Reference: Kerfoot et al. 2018, Left-Ventricle Quantification Using Residual U-Net,
    doi:10.1007/978-3-030-12029-0_40.
    """

    num_classes: int
    features: Sequence[int] = (16, 32, 64, 128, 256)
    kernel_size: Sequence[int] = (3, 3)
    strides: _levels.Strides = 2
    num_res_units: int = 2
    norm: _norms.Norm = _INSTANCE
    activation: _activations.Activation = "prelu"
    dropout_rate: float = 0.0
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    image: kontext.Key = kontext.REQUIRED

    @property
    def downsampling_factor(self) -> tuple[int, ...]:
        """Of what each spatial axis of an image must be a multiple."""
        return _levels.factor(self._steps)

    @property
    def _steps(self) -> list[tuple[int, ...]]:
        _levels.check_channels(self.features, self.num_classes)
        num_axes = _spatial.count_axes(self.kernel_size, is_odd=True)
        return _levels.steps(self.strides, len(self.features) - 1, num_axes)

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b *n c"]) -> dict[str, Any]:
        _levels.check_sizes(image, self.downsampling_factor, type(self).__name__)
        x = image
        skips = []
        *levels, last = self.features
        for level, features in enumerate(levels):
            x = self._down(x, features, self._steps[level], f"encoder{level}")
            skips.append(x)
        x = self._down(x, last, (1,) * len(self.kernel_size), f"encoder{len(levels)}")
        for level in reversed(range(len(levels))):
            x = jnp.concatenate([skips[level], x], axis=-1)
            features = self.features[level - 1] if level else self.num_classes
            x = self._up(x, features, level)
        return {"logits": x}

    @nn.nowrap
    def _down(
        self, inputs: jax.Array, features: int, strides: tuple[int, ...], name: str
    ) -> jax.Array:
        x = inputs
        for i in range(max(1, self.num_res_units)):
            block = self._conv_block(
                features, strides=strides if i == 0 else 1, name=f"{name}_{i}"
            )
            x = block(x)
        if not self.num_res_units:
            return x
        is_strided = any(s > 1 for s in strides)
        if not is_strided and inputs.shape[-1] == features:
            return x + inputs
        shortcut = _conv.Conv(
            features,
            self.kernel_size if is_strided else (1,) * len(self.kernel_size),
            strides=strides,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"{name}_shortcut",
        )
        return x + shortcut(inputs)

    @nn.nowrap
    def _up(self, x: jax.Array, features: int, level: int) -> jax.Array:
        x = _conv.ConvTranspose(
            features,
            self.kernel_size,
            strides=self._steps[level],
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"up{level}",
        )(x)
        if level == 0 and not self.num_res_units:
            return x
        x = _norms.make_norm(
            self.norm,
            owner=self,
            num_spatial_axes=len(self.kernel_size),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"up{level}_norm",
        )(x)
        x = _activations.make_activation(
            self.activation,
            owner=self,
            param_dtype=self.param_dtype,
            name=f"up{level}_activation",
        )(x)
        if not self.num_res_units:
            return x
        # The logits are a sum too, and nothing comes behind it.
        bare = {"norm": None, "activation": None, "dropout_rate": 0.0}
        changes = bare if level == 0 else {}
        return x + self._conv_block(features, name=f"decoder{level}", **changes)(x)

    @nn.nowrap
    def _conv_block(self, features: int, **changes: Any) -> _blocks.ConvBlock:
        kwargs: dict[str, Any] = {
            "kernel_size": self.kernel_size,
            "norm": self.norm,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        return _blocks.ConvBlock(features, **{**kwargs, **changes})
