"""Patch discriminator: one logit for each patch of an image, real or made up."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _activations, _norms
from kauldron.modules.images import _conv, _spatial


class PatchDiscriminator(nn.Module):
    """Strided convolutions whose logits see patches, not the whole image (PatchGAN).

    Returns `{"logits": f[*b *m 1]}`: with the defaults each of them sees 70 pixels of an
    axis, and an axis of `n` has about `n / 8 - 2` of them.

    Attributes:
      features: Channels of the first convolution, doubled by each next one up to eight
        times as many.
      num_layers: Convolutions with strides; there are two more without.
      kernel_size: One size for each spatial axis: their number is that of the axes.
      norm: Of all convolutions but the first and the last; see `kd.nn.ConvBlock`.
      activation: See `kd.nn.ConvBlock`.
      has_spectral_norm: Whether convolutions are `kd.nn.SpectralConv`.
      dtype: Of the computation; `None` is that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `f[*b *n c]`.

    Raises:
      ValueError: If the image is too small for a single logit.

    Reference: Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial
    Networks, arXiv:1611.07004.
    """

    features: int = 64
    num_layers: int = 3
    kernel_size: Sequence[int] = (4, 4)
    norm: _norms.Norm = "batch"
    activation: _activations.Activation = functools.partial(
        jax.nn.leaky_relu, negative_slope=0.2
    )
    has_spectral_norm: bool = False
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    image: kontext.Key = kontext.REQUIRED

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b *n c"]) -> dict[str, Float["*b *m 1"]]:
        num_axes = _spatial.count_axes(self.kernel_size)
        _spatial.check_rank(image, num_axes, type(self).__name__)
        self._check_size(image.shape[-num_axes - 1 : -1])
        x = image
        for i in range(self.num_layers + 1):
            features = self.features * min(2**i, 8)
            strides = 2 if i < self.num_layers else 1
            x = self._conv(x, features, strides, f"conv{i}")
            x = _norms.make_norm(
                self.norm if i else None,
                owner=self,
                num_spatial_axes=num_axes,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"norm{i}",
            )(x)
            x = _activations.make_activation(
                self.activation,
                owner=self,
                param_dtype=self.param_dtype,
                name=f"activation{i}",
            )(x)
        return {"logits": self._conv(x, 1, 1, "head")}

    @nn.nowrap
    def _conv(self, x: jax.Array, features: int, strides: int, name: str) -> jax.Array:
        conv = _conv.SpectralConv if self.has_spectral_norm else _conv.Conv
        return conv(
            features,
            self.kernel_size,
            strides=strides,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )(x)

    @nn.nowrap
    def _check_size(self, sizes: Sequence[int]) -> None:
        left = list(sizes)
        for strides in [2] * self.num_layers + [1, 1]:
            pairs = zip(left, self.kernel_size, strict=True)
            left = [(n + 2 * ((k - 1) // 2) - k) // strides + 1 for n, k in pairs]
        if min(left) < 1:
            raise ValueError(
                f"An image of {tuple(sizes)} is too small for {self.num_layers} strided "
                f"convolutions of {tuple(self.kernel_size)} and two more: no logit is "
                "left. Use larger images or a smaller `num_layers`."
            )
