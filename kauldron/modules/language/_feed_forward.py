"""The feed-forward part of a decoder block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from kauldron.ktyping import Float, typechecked
from kauldron.modules import _activations, _sizes
from kauldron.modules.language import _projection


class FeedForward(nn.Module):
    """Two layers, of which the first may be gated: `down(activation(gate) * up)`.

    With `"silu"` this is SwiGLU, with `"gelu"` GeGLU; without a gate, the two-layer
    perceptron of GPT-2. Parameters: `gate`, `up`, `down`.

    Attributes:
      hidden_features: Width between the layers.
      activation: Name, function or module; of the gate, or of `up` if there is none.
      is_gated: Whether there is a gate.
      use_bias: Whether the layers have a bias.
      kernel_init: Initializer of the kernels.
      dtype: Of the computation; by default that of input and parameters together.
      param_dtype: Of the parameters.

    Reference: Shazeer 2020, GLU Variants Improve Transformer, arXiv:2002.05202.
    """

    hidden_features: int
    activation: _activations.Activation = "silu"
    is_gated: bool = True
    use_bias: bool = False
    kernel_init: Callable[..., Any] = _projection.DEFAULT_INIT
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        _sizes.check_positive(self, "hidden_features")
        super().__post_init__()

    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b d"]:
        activation = _activations.make_activation(
            self.activation,
            owner=self,
            param_dtype=self.param_dtype,
            name="activation",
        )
        up = self._layer("up", self.hidden_features, ("embed", "mlp"))(x)
        if self.is_gated:
            gate = self._layer("gate", self.hidden_features, ("embed", "mlp"))(x)
            hidden = activation(gate) * up
        else:
            hidden = activation(up)
        return self._layer("down", x.shape[-1], ("mlp", "embed"))(hidden)

    def _layer(self, name: str, features: int, axes: tuple[str, str]):
        return _projection.Projection(
            (features,),
            axes,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )
