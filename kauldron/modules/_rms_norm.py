"""Normalisation by the root mean square."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron.ktyping import Float, typechecked
from kauldron.modules import _logical_axes


class RMSNorm(nn.Module):
    """Divides features by their root mean square, and scales them.

    `x / sqrt(mean(x**2) + epsilon) * scale` over the last axis, computed in f32. The
    parameter, `scale`, is that of `flax.linen.RMSNorm`.

    Attributes:
      epsilon: Added to the mean square.
      dtype: Of the output; by default that of input and parameter together.
      param_dtype: Of the scale.
      use_scale: Whether there is a scale.
      scale_init: Initializer of the scale; by default such that the factor starts at 1.
      adds_one: Whether the factor is `1 + scale`, as in Gemma.
      axis_name: Logical name of the axis.

    Reference: Zhang and Sennrich 2019, Root Mean Square Layer Normalization,
    arXiv:1910.07467.
    """

    epsilon: float = 1e-6
    dtype: Any = None
    param_dtype: Any = jnp.float32
    use_scale: bool = True
    scale_init: Callable[..., Any] | None = None
    adds_one: bool = False
    axis_name: str | None = "embed"

    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b d"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        y = wide * jax.lax.rsqrt(mean_square + self.epsilon)
        if not self.use_scale:
            return y.astype(self.dtype or x.dtype)
        default = nn.initializers.zeros if self.adds_one else nn.initializers.ones
        init = _logical_axes.with_logical_axes(
            self.scale_init or default, (self.axis_name,)
        )
        scale = self.param("scale", init, (x.shape[-1],), self.param_dtype)
        factor = scale.astype(wide.dtype) + float(self.adds_one)
        dtype = self.dtype or jnp.promote_types(x.dtype, scale.dtype)
        factor = factor.reshape((1,) * (x.ndim - 1) + factor.shape)
        return (y * factor).astype(dtype)
