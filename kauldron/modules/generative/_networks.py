"""A small network of noisy images, times and labels."""

from __future__ import annotations

import functools
import math
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Float, Int, typechecked
from kauldron.modules import _logical_axes


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
        frequencies = np.expand_dims(frequencies.astype(np.float32), (*range(t.ndim),))
        angles = 1000 * t[..., None].astype(jnp.float32) * frequencies
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class ConditionalMLP(nn.Module):
    """Residual blocks on flattened images, scaled and shifted by time and label.

    For small images: it knows nothing of neighbours.

    Attributes:
      features: Width of the blocks.
      num_blocks: Number of blocks.
      num_classes: Number of classes; the class id `num_classes` means "not told". `None`
        for a network without labels.
      dtype: Of the computation; `None` is that of inputs and parameters.
      param_dtype: Of the parameters.

    Raises:
      ValueError: If a label is given without `num_classes`, or the other way round.

    Reference: Perez et al. 2018, FiLM: Visual Reasoning with a General Conditioning
    Layer, eq. 2, arXiv:1709.07871, after a norm.
    """

    features: int = 256
    num_blocks: int = 3
    num_classes: int | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    @typechecked
    def __call__(
        self, x: Float["*b h w c"], t: Float["*b"], label: Int["*b"] | None = None
    ) -> Float["*b h w c"]:
        project = functools.partial(
            dense, dtype=self.dtype, param_dtype=self.param_dtype
        )

        def modulate(name: str, h: jax.Array) -> jax.Array:
            h = nn.LayerNorm(use_scale=False, use_bias=False, dtype=self.dtype)(h)
            modulation = project(name, 2 * self.features, ("embed", None))(condition)
            scale, shift = jnp.split(modulation, 2, axis=-1)
            return h * (1 + scale) + shift

        times = TimeEmbedding(64)(t).astype(x.dtype)
        condition = embed_condition(self, times, label, features=self.features)
        flat = einops.rearrange(x, "... h w c -> ... (h w c)")
        h = project("image_in", self.features, (None, "embed"))(flat)
        for i in range(self.num_blocks):
            inner = modulate(f"modulation_{i}", h)
            inner = project(f"dense_in_{i}", self.features, ("embed", "mlp"))(inner)
            outer = project(f"dense_out_{i}", self.features, ("mlp", "embed"))
            h += outer(nn.silu(inner))
        h = modulate("modulation_out", h)
        flat = project("image_out", flat.shape[-1], ("embed", None))(h)
        return flat.reshape(x.shape)


# Not methods: Flax would record the modules that they return as intermediates.
def embed_condition(
    model: Any, times: jax.Array, label: jax.Array | None, *, features: int
) -> jax.Array:
    """Returns what a network knows beside the image, of time and label, `f[*b d]`.

    Args:
      model: Has `num_classes`, `dtype` and `param_dtype`.
      times: Embedding of the times.
      label: Class ids, if there are classes.
      features: Number of values.
    """
    dtypes = {"dtype": model.dtype, "param_dtype": model.param_dtype}
    condition = dense("time_in", features, (None, "embed"), **dtypes)(times)
    if (label is None) != (model.num_classes is None):
        raise ValueError(
            f"{type(model).__name__} needs labels exactly if it has `num_classes`: got "
            f"num_classes={model.num_classes}, and {'no ' if label is None else ''}"
            "labels."
        )
    if label is not None:
        condition += nn.Embed(
            *(model.num_classes + 1, features),
            name="label_in",
            embedding_init=_logical_axes.with_logical_axes(
                nn.linear.default_embed_init, ("vocab", "embed")
            ),
            **dtypes,
        )(label)
    return nn.silu(condition)


def dense(
    name: str, features: int, axes: tuple[str | None, str | None], **kwargs: Any
) -> nn.Dense:
    return nn.Dense(
        features,
        name=name,
        kernel_init=_logical_axes.with_logical_axes(
            nn.linear.default_kernel_init, axes
        ),
        bias_init=_logical_axes.with_logical_axes(nn.initializers.zeros, axes[1:]),
        **kwargs,
    )
