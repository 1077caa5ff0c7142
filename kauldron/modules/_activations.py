"""Activations by name, function or module."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron._base import errors
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _logical_axes, _modules

Activation = str | Callable[..., jax.Array] | nn.Module | None


class PReLU(nn.Module):
    """Leaky ReLU with one slope that is learned.

    Attributes:
      negative_slope: Its first value.
      param_dtype: Of the slope.

    Reference: He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852.
    """

    negative_slope: float = 0.25
    param_dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*a"]) -> Float["*a"]:
        init = nn.initializers.constant(self.negative_slope)
        slope = self.param(
            "negative_slope",
            _logical_axes.with_logical_axes(init, ()),
            (),
            self.param_dtype,
        )
        # In f32: the gradient of the one slope is a sum over the whole array.
        x = jnp.asarray(inputs, jnp.promote_types(inputs.dtype, jnp.float32))
        return jnp.where(x >= 0, x, slope * x).astype(inputs.dtype)


def _identity(x: Float["*a"]) -> Float["*a"]:
    return x


_FUNCTIONS: dict[str, Callable[..., jax.Array]] = {
    "elu": jax.nn.elu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "hard_swish": jax.nn.hard_swish,
    "leaky_relu": jax.nn.leaky_relu,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def make_activation(
    activation: Activation,
    *,
    owner: nn.Module,
    param_dtype: DType = jnp.float32,
    name: str | None = None,
) -> Callable[..., jax.Array]:
    """Returns the function or module to call, for use in `@nn.compact`.

    Args:
      activation: A name, such as `"relu"`; a function of an array; a module, which is
        copied, so that each use has its own parameters; `None` changes nothing.
        `"gelu"` is the exact one, `"gelu_tanh"` its approximation; `"leaky_relu"` has
        slope 0.01, `"prelu"` one learned slope that starts at 0.25.
      owner: The module that calls this, in its `__call__`.
      param_dtype: Of parameters, if the activation is `"prelu"`.
      name: Of the module, if it is one.

    Raises:
      ValueError: If nothing has that name.
    """
    if activation is None:
        return _identity
    if isinstance(activation, nn.Module):
        return _modules.copy_of(activation, owner, name)
    if not isinstance(activation, str):
        return activation
    if activation == "prelu":
        return PReLU(param_dtype=param_dtype, name=name)
    if activation not in _FUNCTIONS:
        names = sorted([*_FUNCTIONS, "prelu"])
        raise ValueError(
            f"There is no activation {activation!r}."
            f"{errors.did_you_mean(activation, names)} There are {', '.join(names)}; "
            "a function or a module can be given instead."
        )
    return _FUNCTIONS[activation]
