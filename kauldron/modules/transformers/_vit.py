"""Vision transformers: encoder, classifier, autoencoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import einops
import flax.linen as nn
import jax.numpy as jnp

from kauldron import kontext, sharding
from kauldron._base import errors
from kauldron.ktyping import DType, Float, typechecked
from kauldron.modules import _logical_axes, _pipeline, _rms_norm, _sizes
from kauldron.modules.transformers import (
    _axes,
    _blocks,
    _embeddings,
    _patches,
    _variants,
    knn_types,
)

_MODES = ("gap", "cls_token", "cls_token_forced")


class VitEncoder(nn.Module):
    """Image to tokens: patches, positions, transformer blocks, a norm.

    Attributes:
      layers: The blocks, one after the other.
      embedding: Makes tokens of an image.
      pos_embedding: Embedding of positions.
      encoder_norm: Norm of the tokens at the end; `None` for none.
      prepend_cls_token: Whether a learned token comes first. It has no position.
      cls_token_init: Initializer of that token.
      image: Key to the image, `f[*b h w c]`.
      scan: Whether one program runs all layers, which must be the same: it compiles as fast
        as one layer. Their parameters are then stacked, as `blocks`.

    Raises (when called):
      ValueError: If patches don't fill the image, or layers that are scanned differ.

    Example:

    ```python
    encoder = kd.nn.VitEncoder.from_variant_str("ViT-S/16", image="batch.image")
    ```

    Reference: Dosovitskiy et al. 2020, An Image is Worth 16x16 Words, arXiv:2010.11929.
    """

    layers: Sequence[knn_types.TransformerBlock]
    embedding: knn_types.ImageTokenizer
    pos_embedding: knn_types.PositionEmbedding = _embeddings.LearnedEmbedding()
    encoder_norm: knn_types.NormModule | None = _rms_norm.RMSNorm()
    prepend_cls_token: bool = False
    cls_token_init: _axes.Initializer = nn.initializers.zeros
    image: kontext.Key = kontext.REQUIRED
    scan: bool = False

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b h w c"]) -> Float["*b n d"]:
        tokens = self.embedding(image)
        tokens = tokens + self.pos_embedding(tokens.shape, axis=-2)
        if self.prepend_cls_token:
            tokens = self._prepend_cls(tokens)
        if self.scan:
            tokens = self._scan(tokens)
        else:
            for layer in self.layers:
                tokens = layer(tokens)
        return tokens if self.encoder_norm is None else self.encoder_norm(tokens)

    @classmethod
    def from_variant_str(cls, variant_str: str, **kwargs: Any) -> VitEncoder:
        """Returns an encoder of a known size.

        Args:
          variant_str: Size and patch size, such as `'ViT-B/16'`, `'S/8'`, `'B'`.
          **kwargs: Of `from_spec`; they win over the variant.

        Raises:
          ValueError: If there is no such size, with the nearest name, or no patch size.
        """
        spec = {**_variants.spec_of(variant_str), **kwargs}
        if "patch_size" not in spec and "embedding" not in spec:
            raise _variants.VariantError(
                f"{variant_str!r} says nothing about the size of patches: write "
                f"'{variant_str}/16', or give `patch_size`."
            )
        return cls.from_spec(**spec)

    @classmethod
    def from_spec(
        cls,
        num_heads: int,
        hidden_size: int,
        num_layers: int,
        patch_size: int | tuple[int, int] | None = None,
        mlp_size: int | None = None,
        block_type: Any = _blocks.PreNormBlock,
        dtype: DType = jnp.float32,
        **kwargs: Any,
    ) -> VitEncoder:
        """Returns an encoder by its sizes.

        Args:
          num_heads: Number of heads; divides `hidden_size`.
          hidden_size: Features of a token.
          num_layers: Number of blocks.
          patch_size: Of patches, in pixels; one number for square ones. Not needed with an
            `embedding` of your own.
          mlp_size: Features inside of the MLPs; four times `hidden_size` unless given.
          block_type: Class of the blocks.
          dtype: Of the norms inside of the blocks.
          **kwargs: Of the encoder.

        Raises:
          ValueError: If `num_heads` does not divide `hidden_size`.
        """
        if hidden_size % num_heads:
            raise ValueError(
                f"`num_heads` must divide `hidden_size`: got num_heads={num_heads}, "
                f"hidden_size={hidden_size}. Numbers that do: "
                f"{[n for n in range(1, hidden_size + 1) if hidden_size % n == 0]}."
            )
        if "embedding" not in kwargs:
            kwargs["embedding"] = _patches_of(patch_size, hidden_size)
        layers = tuple(
            block_type.from_spec(
                num_heads=num_heads,
                mlp_size=mlp_size,
                normalize_qk=False,
                attention_norm=_axes.layer_norm(dtype=dtype),
                mlp_norm=_axes.layer_norm(dtype=dtype),
            )
            for _ in range(num_layers)
        )
        return cls(layers=layers, **kwargs)

    def _prepend_cls(self, tokens: Float["*b n d"]) -> Any:
        init = _logical_axes.with_logical_axes(self.cls_token_init, ("embed",))
        token = self.param("cls", init, tokens.shape[-1:]).astype(tokens.dtype)
        token = jnp.broadcast_to(token, (*tokens.shape[:-2], 1, tokens.shape[-1]))
        return jnp.concatenate([token, tokens], -2)

    def _scan(self, tokens: Float["*b n d"]) -> Any:
        first: Any = self.layers[0]
        for i, layer in enumerate(self.layers):
            if not _is_same(layer, first):
                raise ValueError(
                    f"`scan=True` runs one program for all layers, and `layers[{i}]` is "
                    f"not as `layers[0]`:\n{layer}\n{first}"
                )

        num_layers, block = len(self.layers), first.copy(name="blocks")
        plan = None
        if not self.is_initializing() and tokens.ndim > 2:
            plan = sharding.pipelining(num_layers, tokens.shape[0])
        if plan is not None:
            return _pipeline.run_pipelined(
                lambda block, tokens: block(tokens),
                block,
                tokens,
                num_layers=num_layers,
                plan=plan,
            )

        def body(block: nn.Module, tokens: Float["*b n d"], _: None) -> Any:
            return block(tokens), None

        scan = nn.scan(
            body,
            variable_axes={True: 0},
            split_rngs={True: True},
            length=num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        tokens, _ = scan(block, tokens, None)
        return tokens


def _patches_of(
    patch_size: int | tuple[int, int] | None, hidden_size: int
) -> _patches.PatchifyEmbed:
    if patch_size is None:
        raise ValueError(
            "`VitEncoder.from_spec` needs a `patch_size`, or an `embedding` of your own."
        )
    height, width = (
        (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
    )
    return _patches.PatchifyEmbed(patch_size=(height, width), hidden_size=hidden_size)


class Vit(nn.Module):
    """Image classifier on the tokens of an encoder.

    Returns `{"logits": f[*b num_classes]}`.

    Attributes:
      encoder: From an image `f[*b h w c]` to tokens `f[*b n d]`.
      num_classes: Number of classes.
      init_head_bias: Initializer of the bias of the last layer.
      mode: What is classified: `'gap'`, the mean of all tokens; `'cls_token'`, the first,
        which the encoder has to prepend; `'cls_token_forced'`, the first, whatever it is.
      image: Key to the image, `f[*b h w c]`.

    Raises:
      ValueError: If there is no such mode, with the nearest one, or no such token, or the
        encoder is no module.

    Example:

    ```python
    model = kd.nn.Vit(
        encoder=kd.nn.VitEncoder.from_variant_str("Ti/4"),
        num_classes=10,
        image="batch.image",
    )
    ```
    """

    encoder: nn.Module
    num_classes: int = 1000
    init_head_bias: _axes.Initializer = nn.initializers.zeros
    mode: Literal["gap", "cls_token", "cls_token_forced"] = "gap"
    image: kontext.Key = kontext.REQUIRED

    def __post_init__(self) -> None:
        _sizes.check_positive(self, "num_classes")
        if self.mode not in _MODES:
            raise ValueError(
                f"There is no `Vit.mode` {self.mode!r}."
                f"{errors.did_you_mean(str(self.mode), _MODES)} It is one of {_MODES}."
            )
        if not callable(self.encoder):
            raise ValueError(
                "`Vit.encoder` is a module, such as "
                f"`kd.nn.VitEncoder.from_variant_str('Ti/4')`: got {self.encoder!r}."
            )
        if self.mode == "cls_token" and not getattr(
            self.encoder, "prepend_cls_token", False
        ):
            raise ValueError(
                "`Vit.mode='cls_token'` classifies a token that the encoder does not have: "
                "set `encoder.prepend_cls_token=True`, or mode='cls_token_forced' for the "
                "first token whatever it is."
            )
        super().__post_init__()

    @nn.compact
    @typechecked
    def __call__(
        self, image: Float["*b h w c"]
    ) -> dict[str, Float["*b {self.num_classes}"]]:
        tokens = self.encoder(image)
        # The mean is that of f32, however many tokens there are.
        x = tokens[..., 0, :] if self.mode != "gap" else _mean_of_tokens(tokens)
        x = nn.tanh(_axes.dense(x.shape[-1], ("embed", "mlp"), name="pre_logits")(x))
        head = _axes.dense(
            self.num_classes,
            ("mlp", None),
            bias_init=self.init_head_bias,
            name="classifier_head",
        )
        return {"logits": head(x)}


class VitAutoEncoder(nn.Module):
    """Image to tokens and back, by one dense layer.

    Returns `{"image": f[*b h w c]}`.

    Attributes:
      encoder: A `VitEncoder` with patches that fill the image.
      image: Key to the image, `f[*b h w c]`.
    """

    encoder: Any
    image: kontext.Key = kontext.REQUIRED

    @nn.compact
    @typechecked
    def __call__(self, image: Float["*b h w c"]) -> dict[str, Float["*b h w c"]]:
        height, width, channels = image.shape[-3:]
        rows, columns = _patches.check_patch_size(
            self.encoder.embedding.patch_size, image.shape
        )
        num_patches = (height // rows) * (width // columns)
        tokens = self.encoder(image)[
            ..., -num_patches:, :
        ]  # without a token for classes
        size = rows * columns * channels
        pixels = _axes.dense(size, ("embed", None), name="decoder")(tokens)
        return {
            "image": einops.rearrange(
                pixels,
                "... (n m) (hp wp c) -> ... (n hp) (m wp) c",
                n=height // rows,
                hp=rows,
                wp=columns,
            )
        }


def _is_same(a: object, b: object) -> bool:
    """Whether two values of fields are equal; of modules, wherever they are used."""
    if isinstance(a, nn.Module) and type(a) is type(b):
        names = [
            f.name for f in dataclasses.fields(a) if f.name not in ("parent", "name")
        ]
        return all(_is_same(getattr(a, name), getattr(b, name)) for name in names)
    return a == b


def _mean_of_tokens(tokens: Float["*b n d"]) -> Any:
    return jnp.mean(tokens, -2, dtype=jnp.float32).astype(tokens.dtype)
