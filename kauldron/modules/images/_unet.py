"""U-Net: the classic one, nnU-Net's, with a residual encoder, with attention gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _activations, _norms
from kauldron.modules.images import _blocks, _conv, _levels, _resampling


class UNet(nn.Module):
    """Encoder and decoder with connections at each level, in 1, 2 or 3 dimensions.

    Returns `{"logits": f[*b *n num_classes]}`, of the resolution of the image. With deep
    supervision there is also `"deep"`, a list of the logits of the coarser levels but
    the last: `preds.deep[0]` is smaller by the first strides, and so on.

    The defaults are nnU-Net's `PlainConvUNet`; `is_residual=True` its
    `ResidualEncoderUNet`; `down="max"`, `norm="batch"`, `activation="relu"` the classic
    one (with padding). Level 0 is the finest.

    Attributes:
      num_classes: Channels of the logits.
      features: Channels of each level, from fine to coarse.
      kernel_size: One size for each spatial axis: their number is that of the axes. Or
        one such kernel for each level.
      strides: Of all steps between levels, or a list with those of each step: a number,
        or one for each spatial axis.
      encoder_blocks: Blocks of each level on the way down, or of all.
      decoder_blocks: Convolutions of each level but the last on the way up, or of all.
      is_residual: Whether the blocks on the way down are residual blocks (with pooled
        shortcuts), behind one more convolution.
      down: `"conv"`, by the first convolution of a level; `"max"` or `"average"` pooling.
      up: `"transposed"` convolution; `"nearest"` or `"linear"` interpolation.
      has_attention: Whether gates choose what passes through the connections.
      squeeze_ratio: Of squeeze-excitation in residual blocks; 0 is none.
      norm: See `kd.nn.ConvBlock`.
      activation: Likewise.
      dropout_rate: Likewise.
      use_bias: Whether convolutions in front of a norm have a bias.
      has_deep_supervision: Whether coarser levels predict, too.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `f[*b *n c]`; the spatial axes are multiples of
        `downsampling_factor`.

    Raises:
      ValueError: If lists have another length than there are levels or steps, if kernels
        are even or channels not positive, or if the axes of an image don't divide.

    References: Ronneberger et al. 2015, U-Net, arXiv:1505.04597; Isensee et al. 2021,
    nnU-Net, and 2024, nnU-Net Revisited, arXiv:2404.09556; Oktay et al. 2018, Attention
    U-Net, arXiv:1804.03999.
    """

    num_classes: int
    features: Sequence[int] = (32, 64, 128, 256, 512)
    kernel_size: _levels.KernelSize = (3, 3)
    strides: _levels.Strides = 2
    encoder_blocks: int | Sequence[int] = 2
    decoder_blocks: int | Sequence[int] = 2
    is_residual: bool = False
    down: _resampling.Down = "conv"
    up: _resampling.Up = "transposed"
    has_attention: bool = False
    squeeze_ratio: float = 0.0
    norm: _norms.Norm = "instance"
    activation: _activations.Activation = "leaky_relu"
    dropout_rate: float = 0.0
    use_bias: bool = True
    has_deep_supervision: bool = False
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    image: kontext.Key = kontext.REQUIRED

    @property
    def downsampling_factor(self) -> tuple[int, ...]:
        """Of what each spatial axis of an image must be a multiple."""
        return _levels.factor(self._steps)

    @property
    def _kernels(self) -> list[tuple[int, ...]]:
        _levels.check_channels(self.features, self.num_classes)
        return _levels.kernels(self.kernel_size, len(self.features))

    @property
    def _steps(self) -> list[tuple[int, ...]]:
        num_axes = len(self._kernels[0])
        return _levels.steps(self.strides, len(self.features) - 1, num_axes)

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b *n c"]) -> dict[str, Any]:
        _levels.check_sizes(image, self.downsampling_factor, type(self).__name__)
        skips = self._encode(image)
        x = skips.pop()
        logits = []
        num_blocks = _levels.values(self.decoder_blocks, len(skips), "decoder_blocks")
        # Parameters on the way up are numbered as they are used, the coarsest first.
        for step, level in enumerate(reversed(range(len(skips)))):
            x = self._up(x, skips[level], level, step)
            for i in range(num_blocks[level]):
                x = self._conv_block(level, name=f"decoder{step}_{i}")(x)
            if level == 0 or self.has_deep_supervision:
                logits.insert(0, self._head(level, step)(x))
        if not self.has_deep_supervision:
            return {"logits": logits[0]}
        return {"logits": logits[0], "deep": logits[1:]}

    @nn.nowrap
    def _encode(self, x: jax.Array) -> list[jax.Array]:
        """Returns what comes out of each level, from fine to coarse."""
        num_levels = len(self.features)
        num_blocks = _levels.values(self.encoder_blocks, num_levels, "encoder_blocks")
        _resampling.check_method(self.down, ("conv", "max", "average"))
        outputs = []
        if self.is_residual:
            x = self._conv_block(0, name="stem")(x)
        for level in range(num_levels):
            num_axes = len(self._kernels[level])
            strides = self._steps[level - 1] if level else (1,) * num_axes
            if level and self.down != "conv":
                x = _resampling.Downsample(strides, self.down)(x)
                strides = (1,) * num_axes
            for i in range(num_blocks[level]):
                block = self._residual_block if self.is_residual else self._conv_block
                name = f"encoder{level}_{i}"
                x = block(level, strides=strides if i == 0 else 1, name=name)(x)
            outputs.append(x)
        return outputs

    @nn.nowrap
    def _up(self, x: jax.Array, skip: jax.Array, level: int, step: int) -> jax.Array:
        x = _resampling.Upsample(
            self._steps[level],
            self.up,
            features=self.features[level],
            use_bias=self.use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"up{step}",
        )(x)
        if self.has_attention:
            skip = _blocks.AttentionGate(
                max(1, self.features[level] // 2),
                num_spatial_axes=len(self._kernels[level]),
                norm=self.norm,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"gate{step}",
            )(skip, x)
        return jnp.concatenate([x, skip], axis=-1)

    @nn.nowrap
    def _head(self, level: int, step: int) -> _conv.Conv:
        return _conv.Conv(
            self.num_classes,
            (1,) * len(self._kernels[level]),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"head{step}",
        )

    @nn.nowrap
    def _conv_block(self, level: int, **kwargs: Any) -> _blocks.ConvBlock:
        return _blocks.ConvBlock(**self._block_fields(level), **kwargs)

    @nn.nowrap
    def _residual_block(self, level: int, **kwargs: Any) -> _blocks.ResidualBlock:
        return _blocks.ResidualBlock(
            shortcut="pool",
            squeeze_ratio=self.squeeze_ratio,
            **self._block_fields(level),
            **kwargs,
        )

    @nn.nowrap
    def _block_fields(self, level: int) -> dict[str, Any]:
        return {
            "features": self.features[level],
            "kernel_size": self._kernels[level],
            "norm": self.norm,
            "activation": self.activation,
            "dropout_rate": self.dropout_rate,
            "use_bias": self.use_bias,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
