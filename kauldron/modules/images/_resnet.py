"""Residual networks for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import flax.linen as nn
import jax.numpy as jnp

from kauldron import kontext
from kauldron._base import errors
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _norms, _sizes
from kauldron.modules._logical_axes import with_logical_axes
from kauldron.modules.images import _blocks

_KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

_BLOCKS = ("basic", "bottleneck")
_VARIANTS: Mapping[str, tuple[tuple[int, ...], str]] = {
    "ResNet-18": ((2, 2, 2, 2), "basic"),
    "ResNet-34": ((3, 4, 6, 3), "basic"),
    "ResNet-50": ((3, 4, 6, 3), "bottleneck"),
    "ResNet-101": ((3, 4, 23, 3), "bottleneck"),
    "ResNet-152": ((3, 8, 36, 3), "bottleneck"),
}


class ResNet(nn.Module):
    """Residual network: a classifier, or the feature map below it.

    Convolutions pad symmetrically and the norms have the constants of PyTorch, so that
    its weights give its numbers (`kd.ckpts.PretrainedWeights`).

    Attributes:
      stage_sizes: How many blocks each stage has; each but the first halves the image.
      features: Channels of each stage, for a bottleneck those of its 3 x 3 convolution.
      block: `"basic"`, two 3 x 3 convolutions, or `"bottleneck"`, 1 x 1, 3 x 3, and
        1 x 1 with four times the channels.
      num_classes: Returns `{"logits": Float["*b classes"]}`; `None` for
        `{"features": Float["*b h w c"]}`, the last feature map.
      stem: `"large"` divides the image by four (7 x 7 convolution and maximum, both of
        stride 2), `"small"`, a 3 x 3 convolution, keeps its size: for 32 x 32 and less.
      stem_features: Channels of the stem; those of the first stage unless given.
      norm: See `kd.nn.ConvBlock`.
      dtype: Of the computation; `None` takes that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `Float["*b h w c"]`.

    Reference: He et al. 2016, Deep residual learning for image recognition,
    arXiv:1512.03385; the stride of a bottleneck is in its 3 x 3 convolution, as in
    PyTorch's.
    """

    stage_sizes: Sequence[int]
    features: Sequence[int] = (64, 128, 256, 512)
    block: Literal["basic", "bottleneck"] = "basic"
    num_classes: int | None = 1000
    stem: Literal["large", "small"] = "large"
    stem_features: int | None = None
    norm: _norms.Norm = "batch"
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    image: kontext.Key = kontext.REQUIRED

    @classmethod
    def from_variant_str(cls, variant: str, **overrides: Any) -> Self:
        """Returns a published size, such as `"ResNet-50"`.

        Args:
          variant: `"ResNet-18"`, `-34` (basic blocks), `-50`, `-101`, `-152`
            (bottlenecks).
          **overrides: Fields.

        Raises:
          ValueError: If there is no such variant.
        """
        if variant not in _VARIANTS:
            raise ValueError(
                f"There is no {variant!r}, but {', '.join(_VARIANTS)}."
                f"{errors.did_you_mean(variant, _VARIANTS)}"
            )
        stage_sizes, block = _VARIANTS[variant]
        return cls(**{"stage_sizes": stage_sizes, "block": block, **overrides})

    def __post_init__(self) -> None:
        _sizes.check_positive(self, "num_classes")
        if len(self.features) < len(self.stage_sizes):
            raise ValueError(
                f"`features` has a width for each stage: got {tuple(self.features)} for "
                f"{len(self.stage_sizes)} stages."
            )
        _choose("block", self.block, _BLOCKS)
        _choose("stem", self.stem, ("large", "small"))
        super().__post_init__()

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b h w c"]) -> dict[str, Float["..."]]:
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options = {**dtypes, "norm": self.norm, "kernel_init": _KERNEL_INIT}
        is_large, is_basic = self.stem == "large", self.block == "basic"
        x = _blocks.ConvBlock(
            self.stem_features or self.features[0],
            (7, 7) if is_large else (3, 3),
            strides=2 if is_large else 1,
            use_bias=False,
            **options,
            name="stem",
        )(image)
        if is_large:
            # Zeros are the least that is left. `nn.max_pool` pads one leading axis only.
            x = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
            x = nn.max_pool(x, (3, 3), strides=(2, 2))
        for stage, num_blocks in enumerate(self.stage_sizes):
            width = self.features[stage]
            for i in range(num_blocks):
                x = _blocks.ResidualBlock(
                    width if is_basic else 4 * width,
                    strides=2 if stage > 0 and i == 0 else 1,
                    bottleneck_features=None if is_basic else width,
                    **options,
                    name=f"stage{stage}_block{i}",
                )(x)
        if self.num_classes is None:
            return {"features": x}
        head = nn.Dense(
            self.num_classes,
            **dtypes,
            kernel_init=with_logical_axes(
                nn.initializers.lecun_normal(), ("embed", "vocab")
            ),
            bias_init=with_logical_axes(nn.initializers.zeros, ("vocab",)),
            name="head",
        )
        return {"logits": head(jnp.mean(x, axis=(-3, -2)))}


def _choose(field: str, value: str, options: Sequence[str] | Mapping[str, Any]) -> None:
    if value not in options:
        raise ValueError(
            f"`{field}` is one of {', '.join(map(repr, options))}: got {value!r}."
            f"{errors.did_you_mean(value, options)}"
        )
