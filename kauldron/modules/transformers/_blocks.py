"""Transformer blocks: attention and an MLP, with norms before, after, or in parallel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import flax.linen as nn

from kauldron.ktyping import Bool, Float, typechecked
from kauldron.modules import _rms_norm
from kauldron.modules.transformers import _attention, _axes, knn_types


class TransformerMLP(nn.Module):
    """Dense layer, activation, dense layer back to the width of the input.

    Attributes:
      hidden_size: Features in between; four times those of the input unless given.
      activation_fn: The activation.
      kernel_init: Initializer of both kernels.
      bias_init: Initializer of both biases.
    """

    hidden_size: int | None = None
    activation_fn: knn_types.ActivationFunction = nn.gelu
    kernel_init: _axes.Initializer = nn.initializers.xavier_uniform()
    bias_init: _axes.Initializer = nn.initializers.zeros

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b d"]) -> Float["*b d"]:
        features = inputs.shape[-1]
        inits = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
        hidden_size = self.hidden_size or 4 * features
        x = _axes.dense(hidden_size, ("embed", "mlp"), name="dense_in", **inits)(inputs)
        x = self.activation_fn(x)
        return _axes.dense(features, ("mlp", "embed"), name="dense_out", **inits)(x)


class _Block(nn.Module):
    """What the blocks have in common: four parts.

    Attributes:
      attention: Called with tokens.
      mlp: Called with tokens.
      attention_norm: Norm of the attention.
      mlp_norm: Norm of the MLP.
    """

    attention: nn.Module
    mlp: nn.Module = dataclasses.field(default_factory=TransformerMLP)
    attention_norm: nn.Module = dataclasses.field(default_factory=_axes.layer_norm)
    mlp_norm: nn.Module = dataclasses.field(default_factory=_axes.layer_norm)

    @classmethod
    def from_spec(
        cls,
        num_heads: int,
        mlp_size: int | None = None,
        normalize_qk: bool = True,
        attn_kwargs: Mapping[str, Any] | None = None,
        mlp_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Returns a block with attention and MLP of the usual kind.

        Args:
          num_heads: Number of heads.
          mlp_size: Features inside of the MLP; four times the width unless given.
          normalize_qk: Whether queries and keys get a norm.
          attn_kwargs: Further arguments of the attention.
          mlp_kwargs: Further arguments of the MLP.
          **kwargs: Of the block.
        """
        attention = _attention.ImprovedMultiHeadDotProductAttention(
            num_heads=num_heads, normalize_qk=normalize_qk, **(attn_kwargs or {})
        )
        mlp = TransformerMLP(hidden_size=mlp_size, **(mlp_kwargs or {}))
        return cls(attention=attention, mlp=mlp, **kwargs)

    def _attend(self, tokens: Float["*b n d"], mask: Bool["..."] | None) -> Any:
        return (
            self.attention(tokens)
            if mask is None
            else self.attention(tokens, mask=mask)
        )


class PreNormBlock(_Block):
    """Attention and MLP, each on normalised tokens, added to the tokens.

    The output has the dtype of the tokens.

    Attributes:
      attention: Called with tokens, and with `mask` if there is one.
      mlp: Called with tokens.
      attention_norm: Norm before the attention.
      mlp_norm: Norm before the MLP.

    Reference: Xiong et al. 2020, On Layer Normalization in the Transformer Architecture,
    arXiv:2002.04745.
    """

    @nn.compact
    @typechecked
    def __call__(
        self,
        tokens: Float["*b n d"],
        attention_mask: Bool["*#b #h #n n"] | None = None,
    ) -> Float["*b n d"]:
        dtype = tokens.dtype
        tokens = _axes.tokens_between(tokens)
        normed = self.attention_norm(tokens).astype(dtype)
        tokens = _axes.tokens_between(
            tokens + self._attend(normed, attention_mask).astype(dtype)
        )
        normed = self.mlp_norm(tokens).astype(dtype)
        return _axes.tokens_between(tokens + self.mlp(normed).astype(dtype))


class PostNormBlock(_Block):
    """Attention and MLP, each added to the tokens, with a norm behind each.

    As published, and unlike the paper, what the MLP is added to has not gone through the
    norm of the attention: `norm(h + mlp(norm(h)))` with `h = x + attention(x)`.

    Attributes:
      attention: Called with tokens, and with `mask` if there is one.
      mlp: Called with tokens.
      attention_norm: Norm behind the attention.
      mlp_norm: Norm behind the MLP.

    Reference: Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762.
    """

    @nn.compact
    @typechecked
    def __call__(
        self,
        tokens: Float["*b n d"],
        attention_mask: Bool["*#b #h #n n"] | None = None,
    ) -> Float["*b n d"]:
        tokens = _axes.tokens_between(tokens)
        tokens = _axes.tokens_between(tokens + self._attend(tokens, attention_mask))
        tokens = tokens + self.mlp(self.attention_norm(tokens))
        return _axes.tokens_between(self.mlp_norm(tokens))


class ParallelAttentionBlock(_Block):
    """Attention and MLP beside each other, both on normalised tokens.

    Attributes:
      attention: Called with tokens.
      mlp: Called with tokens.
      attention_norm: Norm before the attention.
      mlp_norm: Norm before the MLP.

    Reference: Wang & Komatsuzaki 2021, GPT-J-6B; Dehghani et al. 2023, Scaling Vision
    Transformers to 22 Billion Parameters, arXiv:2302.05442.
    """

    attention_norm: nn.Module = dataclasses.field(default_factory=_rms_norm.RMSNorm)

    @nn.compact
    @typechecked
    def __call__(self, tokens: Float["*b n d"]) -> Float["*b n d"]:
        tokens = _axes.tokens_between(tokens)
        attended = self._attend(self.attention_norm(tokens), None)
        return _axes.tokens_between(tokens + attended + self.mlp(self.mlp_norm(tokens)))
