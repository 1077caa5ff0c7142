"""Initializers and norms of transformers, whose parameters name their axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import flax.linen as nn

from kauldron import sharding
from kauldron.ktyping import Array, DType, PRNGKey
from kauldron.modules import _logical_axes

Initializer: TypeAlias = Callable[..., Any]


def of_heads(init: Initializer, names: tuple[str, ...]) -> Initializer:
    """Names the axes of a parameter of `nn.DenseGeneral`, which initializes it flat.

    A kernel `(in, heads, head_dim)` is asked for as `(in, heads * head_dim)` and reshaped
    afterwards, with its names.

    Args:
      init: Initializer of the flat parameter.
      names: Of the axes of the parameter.
    """

    def init_heads(
        rng: PRNGKey, shape: tuple[int, ...], *args: Any, **kwargs: Any
    ) -> Array:
        ones = (1,) * (len(names) - len(shape))
        unflat = (*shape[:-1], *ones, shape[-1])

        def init_flat(rng: PRNGKey, _: Any, *args: Any, **kwargs: Any) -> Array:
            return init(rng, shape, *args, **kwargs).reshape(unflat)

        named = _logical_axes.with_logical_axes(init_flat, names)
        return named(rng, unflat, *args, **kwargs)

    return init_heads


def dense(
    features: int,
    names: tuple[str | None, str | None],
    *,
    kernel_init: Initializer = nn.initializers.lecun_normal(),
    bias_init: Initializer = nn.initializers.zeros_init(),
    name: str | None = None,
) -> nn.Dense:
    """Returns a dense layer, with the names of its input and output axis."""
    return nn.Dense(
        features,
        kernel_init=_logical_axes.with_logical_axes(kernel_init, names),
        bias_init=_logical_axes.with_logical_axes(bias_init, names[-1:]),
        name=name,
    )


def layer_norm(
    *,
    axis: str = "embed",
    use_bias: bool = True,
    dtype: DType | None = None,
    name: str | None = None,
) -> nn.LayerNorm:
    """Returns a layer norm whose variance is exact for a large mean, too."""
    return nn.LayerNorm(
        dtype=dtype,
        use_bias=use_bias,
        use_fast_variance=False,
        scale_init=_logical_axes.with_logical_axes(nn.initializers.ones, (axis,)),
        bias_init=_logical_axes.with_logical_axes(nn.initializers.zeros, (axis,)),
        name=name,
    )


def tokens_between(x: Array) -> Any:
    """Returns tokens `[*b n d]` as they are between blocks, split over a mesh if any."""
    return sharding.with_logical_constraint(x, ("sequence", "embed"))
