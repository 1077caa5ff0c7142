"""Einops layers."""

from __future__ import annotations

from collections.abc import Mapping

import einops
import flax.linen as nn
from flax.core import FrozenDict

from kauldron.ktyping import Array, typechecked


class Rearrange(nn.Module):
    """`einops.rearrange` as a layer.

    Attributes:
      pattern: Such as `'b h w c -> b (h w c)'`.
      axes_lengths: Sizes of axes that the pattern alone does not tell.
    """

    pattern: str
    axes_lengths: Mapping[str, int] = FrozenDict()

    @nn.compact
    @typechecked
    def __call__(self, inputs: Array) -> Array:
        return einops.rearrange(inputs, self.pattern, **self.axes_lengths)


class Reduce(nn.Module):
    """`einops.reduce` as a layer.

    Attributes:
      pattern: Such as `'b h w c -> b c'`.
      reduction: `'mean'`, `'sum'`, `'max'`, `'min'` or `'prod'`.
      axes_lengths: Sizes of axes that the pattern alone does not tell.
    """

    pattern: str
    reduction: str
    axes_lengths: Mapping[str, int] = FrozenDict()

    @nn.compact
    @typechecked
    def __call__(self, inputs: Array) -> Array:
        return einops.reduce(inputs, self.pattern, self.reduction, **self.axes_lengths)
