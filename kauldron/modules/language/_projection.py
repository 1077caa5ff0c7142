"""A linear map between several axes, whose parameters name them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen import dtypes

from kauldron.ktyping import Array, Float, PRNGKey
from kauldron.modules import _logical_axes

DEFAULT_INIT = nn.initializers.normal(0.02)


class Projection(nn.Module):
    """Contracts the last axes of the input with a kernel: `heads head_dim -> embed`.

    Attributes:
      features: Sizes of the axes of the output.
      axes: Logical name of each axis of the kernel: those of the input, then those of
        the output.
      use_bias: Whether a bias is added.
      kernel_init: Initializer of the kernel as a matrix from inputs to outputs.
      dtype: Of the computation; by default that of input and parameters together.
      param_dtype: Of the parameters.
    """

    features: tuple[int, ...]
    axes: tuple[str | None, ...]
    use_bias: bool = False
    kernel_init: Callable[..., Any] = DEFAULT_INIT
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float["*any"]) -> Float["*any"]:
        num_in = len(self.axes) - len(self.features)
        inputs = x.shape[x.ndim - num_in :]

        def init(rng: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Array["*any"]:
            matrix = (math.prod(inputs), math.prod(self.features))
            return self.kernel_init(rng, matrix, dtype).reshape(shape)

        named = _logical_axes.with_logical_axes
        kernel = self.param(
            "kernel",
            named(init, self.axes),
            (*inputs, *self.features),
            self.param_dtype,
        )
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias",
                named(nn.initializers.zeros, self.axes[num_in:]),
                self.features,
                self.param_dtype,
            )
        x, kernel, bias = dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jnp.tensordot(x, kernel, axes=num_in)
        if bias is None:
            return y
        return y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
