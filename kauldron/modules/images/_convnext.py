"""ConvNeXt: convolutional networks with the design of vision transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron._base import errors
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _norms, _sizes
from kauldron.modules._logical_axes import with_logical_axes
from kauldron.modules._train_property import train_property
from kauldron.modules.images import _conv

_KERNEL_INIT = nn.initializers.truncated_normal(0.02)
_VARIANTS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "ConvNeXt-T": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "ConvNeXt-S": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "ConvNeXt-B": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}


class ConvNeXt(nn.Module):
    """ConvNeXt: a classifier, or the feature map below it.

    Attributes:
      stage_sizes: How many blocks each stage has; each but the first halves the image.
      features: Channels of each stage.
      num_classes: Returns `{"logits": Float["*b classes"]}`; `None` for
        `{"features": Float["*b h w c"]}`, the last feature map.
      patch_size: By how much the first convolution divides the image.
      layer_scale: First value of the learned scale of each channel of a block's result;
        `None` for no scale.
      drop_path_rate: How often the last block is skipped in training, for each example;
        for the blocks before it the rate rises linearly from 0.
      dtype: Of the computation; `None` takes that of input and parameters.
      param_dtype: Of the parameters.
      image: Key to the image, `Float["*b h w c"]`; height and width are multiples of
        `patch_size * 2 ** (len(stage_sizes) - 1)`.

    Reference: Liu et al. 2022, A ConvNet for the 2020s, arXiv:2201.03545.
    """

    stage_sizes: Sequence[int]
    features: Sequence[int]
    num_classes: int | None = 1000
    patch_size: int = 4
    layer_scale: float | None = 1e-6
    drop_path_rate: float = 0.0
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    image: kontext.Key = kontext.REQUIRED

    @classmethod
    def from_variant_str(cls, variant: str, **overrides: Any) -> Self:
        """Returns a published size.

        Args:
          variant: `"ConvNeXt-T"`, `"ConvNeXt-S"` or `"ConvNeXt-B"`.
          **overrides: Fields.

        Raises:
          ValueError: If there is no such variant.
        """
        if variant not in _VARIANTS:
            raise ValueError(
                f"There is no {variant!r}, but {', '.join(_VARIANTS)}."
                f"{errors.did_you_mean(variant, _VARIANTS)}"
            )
        stage_sizes, features = _VARIANTS[variant]
        return cls(**{"stage_sizes": stage_sizes, "features": features, **overrides})

    def __post_init__(self) -> None:
        _sizes.check_positive(self, "num_classes")
        if len(self.features) < len(self.stage_sizes):
            raise ValueError(
                f"`features` has a width for each stage: got {tuple(self.features)} for "
                f"{len(self.stage_sizes)} stages."
            )
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(
                f"`drop_path_rate` is in [0, 1): got {self.drop_path_rate}."
            )
        super().__post_init__()

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b h w c"]) -> dict[str, Float["..."]]:
        self._check_size(image.shape)
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = self._patches(image, self.features[0], self.patch_size, "stem_conv")
        x = _norm(x, self, "stem_norm")
        index, last = 0, max(sum(self.stage_sizes) - 1, 1)
        for stage, num_blocks in enumerate(self.stage_sizes):
            if stage:
                x = _norm(x, self, f"downsample{stage}_norm")
                width, name = self.features[stage], f"downsample{stage}_conv"
                x = self._patches(x, width, 2, name)
            for i in range(num_blocks):
                x = _Block(
                    layer_scale=self.layer_scale,
                    drop_rate=self.drop_path_rate * index / last,
                    **dtypes,
                    name=f"stage{stage}_block{i}",
                )(x)
                index += 1
        if self.num_classes is None:
            return {"features": x}
        x = _norm(jnp.mean(x, axis=(-3, -2)), self, "head_norm")
        head = _dense(self.num_classes, ("embed", "vocab"), "head", **dtypes)
        return {"logits": head(x)}

    def _patches(self, x: jax.Array, features: int, size: int, name: str) -> jax.Array:
        """Convolution of patches that don't overlap."""
        conv = _conv.Conv(
            features,
            (size, size),
            strides=size,
            padding=0,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=_KERNEL_INIT,
            name=name,
        )
        return conv(x)

    def _check_size(self, shape: tuple[int, ...]) -> None:
        factor = self.patch_size * 2 ** (len(self.stage_sizes) - 1)
        if shape[-3] % factor or shape[-2] % factor:
            raise ValueError(
                f"Height and width of an image must be multiples of {factor} for "
                f"`patch_size={self.patch_size}` and {len(self.stage_sizes)} stages: got "
                f"{shape[-3]} x {shape[-2]}. Resize or pad the images."
            )


class _Block(nn.Module):
    """Depthwise convolution, then an MLP at each pixel, added to the input."""

    layer_scale: float | None
    drop_rate: float
    dtype: DType | None = None
    param_dtype: DType = jnp.float32

    is_training = train_property()

    @nn.compact
    def __call__(self, x: Float["*b h w c"]) -> Float["*b h w c"]:
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        features = x.shape[-1]
        y = _conv.Conv(
            features,
            (7, 7),
            feature_group_count=features,
            **dtypes,
            kernel_init=_KERNEL_INIT,
            name="conv",
        )(x)
        y = _norm(y, self, "norm")
        y = _dense(4 * features, ("conv_in", "mlp"), "dense_in", **dtypes)(y)
        y = nn.gelu(y, approximate=False)
        y = _dense(features, ("mlp", "conv_out"), "dense_out", **dtypes)(y)
        if self.layer_scale is not None:
            init = nn.initializers.constant(self.layer_scale)
            init = with_logical_axes(init, ("conv_out",))
            scale = self.param("layer_scale", init, (features,), self.param_dtype)
            # In f32: the gradient of a scale is a sum over all positions.
            dtype = jnp.promote_types(y.dtype, jnp.float32)
            scale = scale.astype(dtype).reshape((1,) * (y.ndim - 1) + (-1,))
            y = (y.astype(dtype) * scale).astype(y.dtype)
        if self.drop_rate and self.is_training:
            shape = (*y.shape[:-3], 1, 1, 1)
            keep_rate = 1 - self.drop_rate
            is_kept = jax.random.bernoulli(self.make_rng("dropout"), keep_rate, shape)
            y = jnp.where(is_kept, y / keep_rate, jnp.zeros((), y.dtype))
        return x + y


def _norm(x: jax.Array, owner: ConvNeXt | _Block, name: str) -> jax.Array:
    norm = _norms.make_norm(
        "layer",
        owner=owner,
        epsilon=1e-6,
        dtype=owner.dtype,
        param_dtype=owner.param_dtype,
        name=name,
    )
    return norm(x)


def _dense(features: int, axes: tuple[str, str], name: str, **dtypes: Any) -> nn.Dense:
    return nn.Dense(
        features,
        **dtypes,
        kernel_init=with_logical_axes(_KERNEL_INIT, axes),
        bias_init=with_logical_axes(nn.initializers.zeros, axes[1:]),
        name=name,
    )
