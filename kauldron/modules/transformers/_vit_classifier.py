"""Vision transformers with the parameters of timm's and Hugging Face's."""

from __future__ import annotations

import functools
from typing import Any, Literal, Self

import flax.linen as nn
import jax.numpy as jnp

from kauldron import kontext
from kauldron._base import errors
from kauldron.ktyping import Float, typechecked
from kauldron.modules import _logical_axes, _sizes
from kauldron.modules.transformers import _axes, _blocks, _patches, _variants, _vit

_POOLINGS = ("cls", "mean")


class VitClassifier(nn.Module):
    """Linear classifier on a vision transformer.

    Unlike `kd.nn.Vit`, no layer is between the tokens and the classes: this is the model
    whose weights timm and Hugging Face publish (`kd.ckpts.PretrainedWeights`).

    Returns `{"logits": f[*b num_classes]}`.

    Attributes:
      encoder: From an image `f[*b h w c]` to tokens `f[*b n d]`; its `prepend_cls_token`
        says whether the first one is the class token.
      num_classes: Number of classes.
      pooling: What is classified: `"cls"`, the class token, or `"mean"`, the mean of the
        others.
      head_norm: Norm of what is classified; `None` for none.
      image: Key to the image, `f[*b h w c]`.

    Raises:
      ValueError: If there is no such pooling, or no class token.

    Example:

    ```python
    model = kd.nn.VitClassifier.from_variant_str(
        "ViT-B/16", num_classes=1000, image="batch.image"
    )
    ```

    Reference: Dosovitskiy et al. 2020, An Image is Worth 16x16 Words, arXiv:2010.11929.
    """

    encoder: _vit.VitEncoder
    num_classes: int = 1000
    pooling: Literal["cls", "mean"] = "cls"
    head_norm: nn.Module | None = None
    image: kontext.Key = kontext.REQUIRED

    def __post_init__(self) -> None:
        _sizes.check_positive(self, "num_classes")
        if self.pooling not in _POOLINGS:
            raise ValueError(
                f"There is no pooling {self.pooling!r}, but 'cls' and 'mean'."
                f"{errors.did_you_mean(str(self.pooling), _POOLINGS)}"
            )
        if self.pooling == "cls" and not self.encoder.prepend_cls_token:
            raise ValueError(
                "`pooling='cls'` classifies a token that the encoder does not have: set "
                "`encoder.prepend_cls_token=True`, or `pooling='mean'`."
            )
        super().__post_init__()

    @classmethod
    def from_variant_str(cls, variant: str, **kwargs: Any) -> Self:
        """Returns a published size.

        Args:
          variant: Size and patch size, such as `"ViT-B/16"`, see `VitEncoder`.
          **kwargs: Of `from_spec`; they win over the variant.

        Raises:
          ValueError: If there is no such size, with the nearest name.
        """
        return cls.from_spec(**{**_variants.spec_of(variant), **kwargs})

    @classmethod
    def from_spec(
        cls,
        *,
        num_heads: int,
        hidden_size: int,
        num_layers: int,
        patch_size: int | tuple[int, int],
        mlp_size: int | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        norm_epsilon: float = 1e-6,
        scan: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Returns a model by its sizes.

        Args:
          num_heads: Number of heads; divides `hidden_size`.
          hidden_size: Features of a token.
          num_layers: Number of blocks.
          patch_size: Of patches, in pixels; one number for square ones.
          mlp_size: Features inside of the MLPs; four times `hidden_size` unless given.
          pooling: With `"mean"`, there is no class token, and the norm is behind the mean,
            as in timm with `global_pool="avg", class_token=False`.
          norm_epsilon: Of the layer norms: 1e-6 in timm, 1e-12 in Hugging Face's.
          scan: Whether one program runs all layers, see `VitEncoder`.
          **kwargs: Of the class.
        """
        gelu = functools.partial(nn.gelu, approximate=False)
        layers = [
            _blocks.PreNormBlock.from_spec(
                num_heads=num_heads,
                mlp_size=mlp_size,
                normalize_qk=False,
                mlp_kwargs={"activation_fn": gelu},
                attention_norm=_layer_norm(norm_epsilon),
                mlp_norm=_layer_norm(norm_epsilon),
            )
            for _ in range(num_layers)
        ]
        if isinstance(patch_size, int):
            patch_size = (patch_size, patch_size)
        is_cls = pooling == "cls"
        encoder = _vit.VitEncoder(
            layers=tuple(layers),
            embedding=_patches.PatchifyEmbed(patch_size, hidden_size),
            encoder_norm=_layer_norm(norm_epsilon) if is_cls else None,
            prepend_cls_token=is_cls,
            cls_token_init=nn.initializers.normal(0.02),
            scan=scan,
        )
        head_norm = None if is_cls else _layer_norm(norm_epsilon)
        return cls(encoder=encoder, pooling=pooling, head_norm=head_norm, **kwargs)

    @nn.compact
    @typechecked
    def __call__(
        self, image: Float["*b h w c"]
    ) -> dict[str, Float["*b {self.num_classes}"]]:
        tokens = self.encoder(image)
        if self.pooling == "cls":
            x = tokens[..., 0, :]
        else:
            patches = tokens[..., int(self.encoder.prepend_cls_token) :, :]
            x = jnp.mean(patches, -2)
        if self.head_norm is not None:
            x = self.head_norm(x)
        return {
            "logits": _axes.dense(self.num_classes, ("embed", "vocab"), name="head")(x)
        }


def _layer_norm(epsilon: float) -> nn.LayerNorm:
    named = _logical_axes.with_logical_axes
    return nn.LayerNorm(
        epsilon=epsilon,
        use_fast_variance=False,
        scale_init=named(nn.initializers.ones, ("embed",)),
        bias_init=named(nn.initializers.zeros, ("embed",)),
    )
