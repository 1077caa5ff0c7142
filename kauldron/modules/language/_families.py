"""Published families of decoders: a table of what they differ in, and one constructor."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from kauldron import kontext
from kauldron._base import errors
from kauldron.modules import _norms, _rms_norm
from kauldron.modules.language._causal_lm import CausalLM
from kauldron.modules.language._decoder_block import DecoderBlock
from kauldron.modules.language._feed_forward import FeedForward
from kauldron.modules.language._gq_attention import GQAttention
from kauldron.modules.language._ml_attention import MLAttention
from kauldron.modules.language._moe import MoE
from kauldron.modules.language._rope import Rope

_PLAIN_ROPE = Rope()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Family:
    """What a family fixes; sizes are the model's own.

    `global_every` is the round of windowed layers that ends with one that sees all.
    """

    rope: Rope | None = _PLAIN_ROPE
    local_rope: Rope | None = None
    global_every: int | None = None
    norm: _norms.Norm = "rms"
    norm_adds_one: bool = False
    epsilon: float = 1e-6
    has_post_norms: bool = False
    has_qk_norm: bool = False
    has_qkv_bias: bool = False
    has_all_biases: bool = False
    activation: str = "silu"
    is_gated: bool = True
    softcap: float | None = None
    head_softcap: float | None = None
    scales_embedding: bool = False
    has_tied_head: bool = False
    needs: tuple[str, ...] = ()


_GEMMA = _Family(
    norm_adds_one=True,
    has_post_norms=True,
    activation="gelu_tanh",
    scales_embedding=True,
    has_tied_head=True,
    needs=("window",),
)
_FAMILIES = {
    "llama": _Family(epsilon=1e-5),
    "mistral": _Family(epsilon=1e-5),
    "mixtral": _Family(epsilon=1e-5, rope=Rope(theta=1e6), needs=("moe",)),
    "qwen2": _Family(has_qkv_bias=True, rope=Rope(theta=1e6)),
    "qwen3": _Family(has_qk_norm=True, rope=Rope(theta=1e6)),
    "gemma2": dataclasses.replace(
        _GEMMA, global_every=2, softcap=50.0, head_softcap=30.0
    ),
    "gemma3": dataclasses.replace(
        _GEMMA,
        global_every=6,
        rope=Rope(theta=1e6),
        local_rope=Rope(theta=1e4),
        has_qk_norm=True,
    ),
    "gpt2": _Family(
        rope=None,
        norm="layer",
        epsilon=1e-5,
        has_qkv_bias=True,
        has_all_biases=True,
        activation="gelu_tanh",
        is_gated=False,
        has_tied_head=True,
        needs=("max_positions",),
    ),
    "deepseek": _Family(needs=("mla", "moe")),
}
# What a family may need: what it is, and an example.
_NEEDED = {
    "window": ("how many positions a windowed layer sees", "4096"),
    "max_positions": ("the most tokens of a row", "1024"),
    "moe": ("its experts", "kd.nn.MoE(num_experts=8, hidden_features=1024)"),
    "mla": ("its attention", "kd.nn.MLAttention(num_heads=16, kv_rank=512)"),
}


def decoder(
    family: str,
    *,
    vocab_size: int,
    features: int,
    num_layers: int,
    num_heads: int,
    hidden_features: int,
    num_kv_heads: int | None = None,
    head_dim: int | None = None,
    rope: Rope | None = None,
    window: int | None = None,
    global_every: int | None = None,
    scale: float | None = None,
    epsilon: float | None = None,
    has_tied_head: bool | None = None,
    max_positions: int | None = None,
    embedding_noise: float | None = None,
    moe: MoE | None = None,
    mla: MLAttention | None = None,
    num_dense_layers: int = 0,
    scan_layers: bool = False,
    remat: bool = False,
    dtype: Any = None,
    param_dtype: Any = "float32",
    tokens: kontext.Key = kontext.REQUIRED,
    positions: kontext.Key | None = None,
    segment_ids: kontext.Key | None = None,
) -> CausalLM:
    """Returns a language model of a published family, in any size.

    Args:
      family: `"llama"`, `"mistral"`, `"mixtral"`, `"qwen2"`, `"qwen3"`, `"gemma2"`,
        `"gemma3"`, `"gpt2"` or `"deepseek"` (V2 and V3).
      vocab_size: Number of tokens.
      features: Size of an embedding.
      num_layers: Number of blocks.
      num_heads: Query heads; not used with `mla`.
      hidden_features: Width of the feed-forward layers that are no experts.
      num_kv_heads: Key heads; by default as many as query heads.
      head_dim: Features of a head; by default `features / num_heads`.
      rope: Rotary embedding; by default the family's, without scaling.
      window: Positions that a windowed layer sees.
      global_every: In how many layers one sees everything; by default the family's.
      scale: Factor of the logits of attention; by default `1 / sqrt(head_dim)`.
      epsilon: Of the norms; by default the family's.
      has_tied_head: Whether the head is the embedding; by default as in the family.
      max_positions: Learned positions, of GPT-2.
      embedding_noise: Of NEFTune, in training; see `CausalLM`.
      moe: Experts in the place of the feed-forward layers.
      mla: Latent attention in the place of the grouped one.
      num_dense_layers: First layers without experts.
      scan_layers: See `CausalLM`, as all that follows.
      remat: See `CausalLM`.
      dtype: Of the computation.
      param_dtype: Of all parameters, but those of `moe` and `mla`.
      tokens: Key to the token ids.
      positions: Key to the positions.
      segment_ids: Key to the documents.

    Raises:
      ValueError: If there is no such family, or it needs what was not said.
    """
    traits = _family(family, {k: v for k, v in locals().items() if k != "family"})
    epsilon = traits.epsilon if epsilon is None else epsilon
    common = {"dtype": dtype, "param_dtype": param_dtype}
    norms = {"epsilon": epsilon, **common}
    tied = traits.has_tied_head if has_tied_head is None else has_tied_head

    def norm(axis: str) -> _norms.Norm:
        if not traits.norm_adds_one:
            return traits.norm
        return _rms_norm.RMSNorm(adds_one=True, axis_name=axis, **norms)

    def attention(window: int | None, rope: Rope | None) -> Any:
        if mla is not None:
            return mla
        return GQAttention(
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            rope=rope,
            qk_norm=norm("head_dim") if traits.has_qk_norm else None,
            window=window,
            softcap=traits.softcap,
            scale=scale,
            use_bias=traits.has_qkv_bias,
            use_out_bias=traits.has_all_biases,
            **norms,
        )

    dense = FeedForward(
        hidden_features,
        activation=traits.activation,
        is_gated=traits.is_gated,
        use_bias=traits.has_all_biases,
        **common,
    )

    def block(attention: Any, feed_forward: Any) -> DecoderBlock:
        return DecoderBlock(
            attention=attention,
            feed_forward=feed_forward,
            norm=norm("embed"),
            has_post_norms=traits.has_post_norms,
            **norms,
        )

    rope = traits.rope if rope is None else rope
    local = attention(window, traits.local_rope or rope)
    period = global_every or traits.global_every
    layers = [local]
    if window is not None and period is not None:
        layers = [local] * (period - 1) + [attention(None, rope)]
    return CausalLM(
        vocab_size=vocab_size,
        features=features,
        num_layers=num_layers,
        first_blocks=tuple(block(local, dense) for _ in range(num_dense_layers)),
        blocks=tuple(block(layer, moe or dense) for layer in layers),
        final_norm=norm("embed"),
        has_tied_head=tied,
        head_softcap=traits.head_softcap,
        embedding_scale=math.sqrt(features) if traits.scales_embedding else None,
        embedding_noise=embedding_noise,
        max_positions=max_positions,
        scan_layers=scan_layers,
        remat=remat,
        tokens=tokens,
        positions=positions,
        segment_ids=segment_ids,
        **norms,
    )


def _family(name: str, arguments: dict[str, Any]) -> _Family:
    if name not in _FAMILIES:
        raise ValueError(
            f"There is no family {name!r}.{errors.did_you_mean(name, _FAMILIES)} There "
            f"are {', '.join(_FAMILIES)}; other decoders are made of `kd.nn.CausalLM` "
            "and `kd.nn.DecoderBlock`."
        )
    for argument in _FAMILIES[name].needs:
        if arguments[argument] is None:
            what, example = _NEEDED[argument]
            raise ValueError(
                f"The family {name!r} needs `{argument}`, {what}: for instance "
                f"`{argument}={example}`."
            )
    return _FAMILIES[name]
