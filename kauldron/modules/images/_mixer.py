"""MLP-Mixer: patches and channels are mixed in turn by multi-layer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _activations, _dropout, _logical_axes, _norms, _sizes
from kauldron.modules.images import _conv, _levels


class MlpMixer(nn.Module):
    """Classifies images of one size; patches see each other through an MLP over them.

    Returns `{"logits": f[*b num_classes]}`.

    Attributes:
      num_classes: Channels of the logits.
      patch_size: Of a patch, one size for each spatial axis: their number is that of the
        axes.
      features: Channels of a patch.
      num_layers: Blocks.
      tokens_mlp_features: Hidden features of the MLP over patches.
      channels_mlp_features: Hidden features of the MLP over channels.
      activation: See `kd.nn.ConvBlock`.
      dropout_rate: Behind each layer of an MLP.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `f[*b *n c]`; its axes are multiples of `patch_size`, and
        of one size for all images.

    Raises:
      ValueError: If the axes of an image don't divide into patches.

    Reference: Tolstikhin et al. 2021, MLP-Mixer, arXiv:2105.01601 (small: 512 features, 8
    layers, 256 and 2048 hidden ones; base: 768, 12, 384, 3072).
    """

    num_classes: int
    patch_size: Sequence[int] = (16, 16)
    features: int = 512
    num_layers: int = 8
    tokens_mlp_features: int = 256
    channels_mlp_features: int = 2048
    activation: _activations.Activation = "gelu"
    dropout_rate: float = 0.0
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    image: kontext.Key = kontext.REQUIRED

    def __post_init__(self) -> None:
        _sizes.check_positive(
            self,
            *("num_classes", "num_layers", "features"),
            *("tokens_mlp_features", "channels_mlp_features"),
        )
        super().__post_init__()

    @property
    def downsampling_factor(self) -> tuple[int, ...]:
        """Of what each spatial axis of an image must be a multiple."""
        return tuple(self.patch_size)

    @nn.compact
    @typechecked
    def __call__(
        self, image: Float["*b *n c"]
    ) -> dict[str, Float["*b {self.num_classes}"]]:
        _levels.check_sizes(image, self.patch_size, type(self).__name__)
        num_axes = len(self.patch_size)
        x = _conv.Conv(
            self.features,
            self.patch_size,
            strides=self.patch_size,
            padding=0,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="patchifier",
        )(image)
        *leading, features = x.shape
        split = len(leading) - num_axes
        x = x.reshape(*leading[:split], math.prod(leading[split:]), features)
        for i in range(self.num_layers):
            y = jnp.swapaxes(self._norm(x, f"block{i}_tokens_norm"), -1, -2)
            y = self._mlp(y, self.tokens_mlp_features, f"block{i}_tokens", None)
            x = x + jnp.swapaxes(y, -1, -2)
            y = self._norm(x, f"block{i}_channels_norm")
            x = x + self._mlp(
                y, self.channels_mlp_features, f"block{i}_channels", "embed"
            )
        x = jnp.mean(self._norm(x, "norm"), axis=-2)
        return {"logits": self._dense(x, self.num_classes, "head", ("embed", None))}

    @nn.nowrap
    def _mlp(self, x: jax.Array, hidden: int, name: str, axis: str | None) -> jax.Array:
        y = self._dense(x, hidden, f"{name}_in", (axis, "mlp"))
        y = _activations.make_activation(
            self.activation, owner=self, name=f"{name}_activation"
        )(y)
        if self.dropout_rate:
            y = _dropout.Dropout(self.dropout_rate)(y)
        y = self._dense(y, x.shape[-1], f"{name}_out", ("mlp", axis))
        return _dropout.Dropout(self.dropout_rate)(y) if self.dropout_rate else y

    @nn.nowrap
    def _norm(self, x: jax.Array, name: str) -> jax.Array:
        return _norms.make_norm(
            "layer",
            owner=self,
            feature_axis="embed",
            epsilon=1e-6,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )(x)

    @nn.nowrap
    def _dense(
        self, x: jax.Array, features: int, name: str, axes: tuple[str | None, ...]
    ) -> jax.Array:
        named = _logical_axes.with_logical_axes
        return nn.Dense(
            features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=named(nn.initializers.lecun_normal(), axes),
            bias_init=named(nn.initializers.zeros_init(), axes[1:]),
            name=name,
        )(x)
