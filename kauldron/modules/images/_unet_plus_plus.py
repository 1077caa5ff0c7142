"""U-Net++: the levels are connected by nested, dense paths."""

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


class UNetPlusPlus(nn.Module):
    """U-Net in which each connection is a path of its own U-Nets, one level deeper each.

    The node `(level, j)` sees all nodes `(level, < j)` and the node `(level + 1, j - 1)`,
    upsampled. Returns `{"logits": f[*b *n num_classes]}`. With deep supervision there is
    also `"deep"`, a list of the logits of the smaller U-Nets within, all of the
    resolution of the image, the deepest first.

    Attributes:
      num_classes: Channels of the logits.
      features: Channels of each level, from fine to coarse.
      kernel_size: One size for each spatial axis: their number is that of the axes. Or
        one such kernel for each level.
      strides: Of all steps between levels, or a list with those of each step: a number,
        or one for each spatial axis.
      num_convs: Convolutions of each node.
      down: `"max"` or `"average"` pooling.
      up: `"transposed"` convolution; `"nearest"` or `"linear"` interpolation.
      norm: See `kd.nn.ConvBlock`.
      activation: Likewise.
      dropout_rate: Likewise.
      has_deep_supervision: Whether the U-Nets within predict, too.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `f[*b *n c]`; the spatial axes are multiples of
        `downsampling_factor`.

    Raises:
      ValueError: If lists have another length than there are levels or steps, or if the
        axes of an image don't divide.

    Reference: Zhou et al. 2018, UNet++, arXiv:1807.10165.
    """

    num_classes: int
    features: Sequence[int] = (32, 32, 64, 128, 256)
    kernel_size: _levels.KernelSize = (3, 3)
    strides: _levels.Strides = 2
    num_convs: int = 2
    down: _resampling.Down = "max"
    up: _resampling.Up = "transposed"
    norm: _norms.Norm = "instance"
    activation: _activations.Activation = "leaky_relu"
    dropout_rate: float = 0.0
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
        _resampling.check_method(self.down, ("max", "average"))
        x = image
        rows: list[list[jax.Array]] = []
        for level in range(len(self.features)):
            if level:
                x = _resampling.Downsample(self._steps[level - 1], self.down)(x)
            x = self._node(x, level, 0)
            rows.append([x])
        for j in range(1, len(rows)):
            for level in range(len(rows) - j):
                x = self._up(rows[level + 1][j - 1], level, j)
                x = jnp.concatenate([*rows[level], x], axis=-1)
                rows[level].append(self._node(x, level, j))
        _, *finest, last = rows[0]
        preds: dict[str, Any] = {"logits": self._head(last, len(finest) + 1)}
        if self.has_deep_supervision:
            numbered = list(enumerate(finest, start=1))
            preds["deep"] = [self._head(x, j) for j, x in reversed(numbered)]
        return preds

    @nn.nowrap
    def _up(self, x: jax.Array, level: int, j: int) -> jax.Array:
        return _resampling.Upsample(
            self._steps[level],
            self.up,
            features=self.features[level],
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"up{level}_{j}",
        )(x)

    @nn.nowrap
    def _node(self, x: jax.Array, level: int, j: int) -> jax.Array:
        for i in range(self.num_convs):
            x = _blocks.ConvBlock(
                self.features[level],
                self._kernels[level],
                norm=self.norm,
                activation=self.activation,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"node{level}_{j}_{i}",
            )(x)
        return x

    @nn.nowrap
    def _head(self, x: jax.Array, j: int) -> jax.Array:
        return _conv.Conv(
            self.num_classes,
            (1,) * len(self._kernels[0]),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"head{j}",
        )(x)
