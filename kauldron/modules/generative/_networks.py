"""A small network of noisy images, times and labels."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Float, Int, typechecked


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time in [0, 1], of wavelengths from 2 pi / 1000 to 20 pi.

    Attributes:
      features: Number of values, even.

    Raises:
      ValueError: If it is odd.

    Reference: Vaswani et al. 2017, Attention Is All You Need, section 3.5,
    arXiv:1706.03762, for positions `1000 t`.
    """

    features: int

    @nn.compact
    @typechecked
    def __call__(self, t: Float["*b"]) -> Float["*b d"]:
        if self.features % 2:
            raise ValueError(
                f"`features` of TimeEmbedding must be even: got {self.features}."
            )
        half = self.features // 2
        frequencies = np.exp(-math.log(10_000) * np.arange(half) / half)
        angles = 1000 * t[..., None].astype(jnp.float32) * frequencies.astype(np.float32)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class ConditionalMLP(nn.Module):
    """Residual blocks on flattened images, scaled and shifted by time and label.

    Each block begins as the identity. For small images, and for points.

    Attributes:
      features: Width of the blocks.
      num_blocks: Number of blocks.
      num_classes: Number of classes; the class id `num_classes` means "not told". `None`
        for a network without labels.

    Raises:
      ValueError: If a label is given without `num_classes`, or the other way round.

    Reference: Peebles & Xie 2023, Scalable Diffusion Models with Transformers, adaLN-Zero
    of section 3.2, arXiv:2212.09748.
    """

    features: int = 256
    num_blocks: int = 3
    num_classes: int | None = None

    @nn.compact
    @typechecked
    def __call__(
        self, x: Float["b ..."], t: Float["b"], label: Int["b"] | None = None
    ) -> Float["b ..."]:
        condition = nn.Dense(self.features)(TimeEmbedding(64)(t))
        if (label is None) != (self.num_classes is None):
            raise ValueError(
                "ConditionalMLP needs labels exactly if it has `num_classes`: got "
                f"num_classes={self.num_classes}, and {'no ' if label is None else ''}"
                "labels."
            )
        if label is not None:
            condition += nn.Embed(self.num_classes + 1, self.features)(label)
        condition = nn.silu(condition)
        flat = x.reshape(len(x), -1)
        h = nn.Dense(self.features)(flat)
        for _ in range(self.num_blocks):
            h = h + self._branch(h, condition)
        h = self._modulated(h, condition)
        return nn.Dense(flat.shape[-1])(h).reshape(x.shape)

    def _branch(self, h: jax.Array, condition: jax.Array) -> jax.Array:
        inner = nn.silu(nn.Dense(self.features)(self._modulated(h, condition)))
        gate = nn.Dense(self.features, kernel_init=nn.initializers.zeros)(condition)
        return gate * nn.Dense(self.features)(inner)

    def _modulated(self, h: jax.Array, condition: jax.Array) -> jax.Array:
        normed = nn.LayerNorm(use_scale=False, use_bias=False)(h)
        modulation = nn.Dense(2 * self.features)(condition)
        scale, shift = jnp.split(modulation, 2, axis=-1)
        return normed * (1 + scale) + shift
