"""Multi-head attention of the published blocks.

Unlike Flax, a query that may attend to nothing gets zeros, not the mean of all values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron.ktyping import Axes, Bool, DType, Float, typechecked
from kauldron.modules import _train_property
from kauldron.modules.attention import _dot_product, _recording
from kauldron.modules.transformers import _axes

_IN_AXES = ("embed", "heads", "head_dim")
_OUT_AXES = ("heads", "head_dim", "embed")
_lecun = nn.initializers.lecun_normal()
_zeros = nn.initializers.zeros


@typechecked
def dot_product_attention_weights(
    query: Float["*b q h d"],
    key: Float["*b k h d"],
    softmax_axis: Axes = -1,
    bias: Float["*#b #h #q #k"] | None = None,
    mask: Bool["*#b #h #q #k"] | None = None,
    softmax_dtype: DType | None = jnp.float32,
) -> Float["*b h q k"]:
    """Returns how much each query attends to each key.

    Args:
      query: Queries, any float dtype.
      key: Keys.
      softmax_axis: Axes of `*b h q k` over which weights sum to one: -1 for the keys; -2
        lets queries compete for a key.
      bias: Added to the logits.
      mask: Where attention is allowed. Where nothing is, weights are zero.
      softmax_dtype: Dtype of logits and softmax; `None` for that of the query.

    Returns:
      Weights in the dtype of the query.
    """
    softmax_dtype = query.dtype if softmax_dtype is None else softmax_dtype
    query = query / math.sqrt(query.shape[-1])
    logits = jnp.einsum(
        "...qhd,...khd->...hqk", query, key, preferred_element_type=softmax_dtype
    ).astype(softmax_dtype)
    if bias is not None:
        logits = logits + bias.astype(softmax_dtype)
    if mask is not None:
        logits = jnp.where(mask, logits, -jnp.inf)
    return _softmax(logits, softmax_axis).astype(query.dtype)


def _softmax(logits: Float["..."], axis: Axes) -> jax.Array:
    """Softmax that gives zeros, with zero gradients, where all logits are -inf."""
    largest = jax.lax.stop_gradient(jnp.max(logits, axis, keepdims=True))
    is_any = jnp.isfinite(largest)
    unnormalized = jnp.exp(logits - jnp.where(is_any, largest, 0))
    total = jnp.sum(unnormalized, axis, keepdims=True)
    return unnormalized / jnp.where(is_any, total, 1)


class ImprovedMultiHeadDotProductAttention(nn.Module):
    """Multi-head attention with the knobs of slot and large vision models.

    It computes in the dtype of `inputs_q`. The weights are an intermediate,
    `attn_weights`, `f[*b h q k]`: in a run if a key reads them, elsewhere if intermediates
    are mutable. Otherwise it is `kd.nn.dot_product_attention`, which has no such array.

    Attributes:
      num_heads: Number of heads; divides the numbers of features.
      qk_features: Features of all heads of queries and keys together; those of `inputs_q`
        unless given.
      v_features: Likewise of the values; `qk_features` unless given.
      out_features: Features of the output; those of `inputs_q` unless given.
      softmax_axis: Axes of the weights that sum to one.
      normalize_qk: Whether queries and keys get a layer norm (without bias) per head.
      kernel_init: Initializer of the kernels.
      bias_init: Initializer of the biases.
      use_bias: Whether the projections have biases.
      attn_weights_fn: Called as `dot_product_attention_weights`, with keywords.
      decode: Accepted, and without effect, as published.

    Raises (when called):
      ValueError: If `num_heads` does not divide the features.

    Reference: Vaswani et al. 2017, arXiv:1706.03762; the norm of queries and keys: Dehghani
    et al. 2023, arXiv:2302.05442.
    """

    num_heads: int
    qk_features: int | None = None
    v_features: int | None = None
    out_features: int | None = None
    softmax_axis: Axes = -1
    normalize_qk: bool = False
    kernel_init: _axes.Initializer = _lecun
    bias_init: _axes.Initializer = _zeros
    use_bias: bool = True
    attn_weights_fn: Callable[..., Any] = dot_product_attention_weights
    decode: bool = False

    @nn.compact
    @typechecked
    def __call__(
        self,
        inputs_q: Float["*b q d_q"],
        inputs_k: Float["*b kv d_k"] | None = None,
        inputs_v: Float["*b kv d_v"] | None = None,
        *,
        bias: Float["*#b #h #q #kv"] | None = None,
        mask: Bool["*#b #h #q #kv"] | None = None,
    ) -> Float["*b q d_o"]:
        """Returns, for each query, a mean of values.

        Args:
          inputs_q: Where queries are made of.
          inputs_k: Where keys are made of; `inputs_q` unless given.
          inputs_v: Where values are made of; `inputs_k` unless given.
          bias: Added to the logits.
          mask: Where attention is allowed.
        """
        inputs_k = inputs_q if inputs_k is None else inputs_k
        inputs_v = inputs_k if inputs_v is None else inputs_v
        qk_features = self.qk_features or inputs_q.shape[-1]
        v_features = self.v_features or qk_features
        self._check_heads(qk_features=qk_features, v_features=v_features)

        dtype = inputs_q.dtype
        query = self._heads("query", qk_features, dtype)(inputs_q)
        key = self._heads("key", qk_features, dtype)(inputs_k)
        value = self._heads("value", v_features, dtype)(inputs_v)
        if self.normalize_qk:
            norm = {"axis": "head_dim", "use_bias": False, "dtype": dtype}
            query = _axes.layer_norm(**norm, name="query_norm")(query)
            key = _axes.layer_norm(**norm, name="key_norm")(key)
        attended = self._attend(query, key, value, bias=bias, mask=mask)
        return nn.DenseGeneral(
            self.out_features or inputs_q.shape[-1],
            axis=(-2, -1),
            use_bias=self.use_bias,
            dtype=dtype,
            kernel_init=_axes.of_heads(self.kernel_init, _OUT_AXES),
            bias_init=_axes.of_heads(self.bias_init, _OUT_AXES[-1:]),
            name="out",
        )(attended)

    def _attend(
        self,
        query: Float["*b q h d"],
        key: Float["*b k h d"],
        value: Float["*b k h v"],
        **tables: Any,
    ) -> Any:
        is_usual = (
            self.attn_weights_fn is dot_product_attention_weights
            and self.softmax_axis in (-1, (-1,))
        )
        is_read = _train_property.is_read(self, "attn_weights")
        if is_usual and not is_read:  # without the weights of all pairs in memory
            return _dot_product.dot_product_attention(query, key, value, **tables)
        weights = self.attn_weights_fn(
            query=query, key=key, softmax_axis=self.softmax_axis, **tables
        )
        if is_read or _recording.is_recorded():
            self.sow("intermediates", "attn_weights", weights)
        return jnp.einsum("...hqk,...khd->...qhd", weights, value)

    def _heads(self, name: str, features: int, dtype: DType) -> nn.DenseGeneral:
        return nn.DenseGeneral(
            (self.num_heads, features // self.num_heads),
            use_bias=self.use_bias,
            dtype=dtype,
            kernel_init=_axes.of_heads(self.kernel_init, _IN_AXES),
            bias_init=_axes.of_heads(self.bias_init, _IN_AXES[1:]),
            name=name,
        )

    def _check_heads(self, **features: int) -> None:
        for name, size in features.items():
            if size % self.num_heads:
                raise ValueError(
                    f"`num_heads` must divide the features: got num_heads="
                    f"{self.num_heads}, {name}={size}. Numbers that do: "
                    f"{[n for n in range(1, size + 1) if size % n == 0]}."
                )


# Flax passes on only what the signature names: that of its own function is shown.
@functools.wraps(nn.dot_product_attention)
def _attend(*args: Any, mask: Bool["..."] | None = None, **kwargs: Any) -> jax.Array:
    """`nn.dot_product_attention` that gives zeros to queries that may attend to nothing."""
    if _recording.is_recorded():
        bias = kwargs.get("bias")
        _dot_product.dot_product_attention(*args[:3], bias=bias, mask=mask)
    attended = nn.dot_product_attention(*args, mask=mask, **kwargs)
    if mask is None:
        return attended
    is_any = jnp.swapaxes(mask.any(-1), -1, -2)[..., None]
    return jnp.where(is_any, attended, jnp.zeros((), attended.dtype))


class MultiHeadDotProductAttention(nn.MultiHeadDotProductAttention):
    """`flax.linen.MultiHeadDotProductAttention`, with dropout in training passes only.

    A query that may attend to nothing gets zeros before the output projection.

    Raises (when called):
      ValueError: If `deterministic` is given: the train property decides.

    Attributes:
      attention_fn: Called as `nn.dot_product_attention`.
    """

    kernel_init: _axes.Initializer = _axes.of_heads(_lecun, _IN_AXES)
    out_kernel_init: Any = _axes.of_heads(_lecun, _OUT_AXES)
    bias_init: _axes.Initializer = _axes.of_heads(_zeros, _IN_AXES[1:])
    out_bias_init: Any = _axes.of_heads(_zeros, _OUT_AXES[-1:])
    attention_fn: Callable[..., Any] = _attend

    is_training = _train_property.train_property()

    @nn.compact
    @typechecked
    def __call__(
        self,
        inputs_q: Float["*b q d_q"],
        inputs_k: Float["*b k d_k"] | None = None,
        inputs_v: Float["*b k d_v"] | None = None,
        *,
        mask: Bool["*#b #h #q #k"] | None = None,
    ) -> Float["*b q d_o"]:
        if self.deterministic is not None:
            raise ValueError(
                "`kd.nn.MultiHeadDotProductAttention` follows the train property; don't "
                "set `deterministic`. Use Flax's own to decide by hand."
            )
        is_deterministic = self.dropout_rate == 0 or not self.is_training
        return super().__call__(
            inputs_q, inputs_k, inputs_v, mask=mask, deterministic=is_deterministic
        )
