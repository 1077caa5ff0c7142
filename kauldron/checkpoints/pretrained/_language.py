"""Layouts of language models: Hugging Face's families, and the names of GGUF files.

Both are of `kd.nn.CausalLM`. Families whose tensors have the same names share a layout: a
rule without a tensor and without a variable does nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.checkpoints import _errors
from kauldron.checkpoints.pretrained._layout import Layout, norm
from kauldron.checkpoints.pretrained._rules import Rearrange, Rule

_MODEL = "kd.nn.CausalLM"
_MATRIX = "d_out d_in -> d_in d_out"
_HEADS = "(heads head_dim) embed -> embed heads head_dim"
_HEADS_BIAS = "(heads head_dim) -> heads head_dim"
_OUT = "embed (heads head_dim) -> heads head_dim embed"
_OURS = "params.layer_{i}"
_ATTENTION = f"{_OURS}.attention"
_FEED_FORWARD = f"{_OURS}.feed_forward"


@dataclasses.dataclass(frozen=True)
class JoinedWithinHeads:
    """Several variables, of which each head of one tensor has a part.

    `(heads a+b) rank` is `rank heads a` and `rank heads b`.
    """

    def to_ours(
        self, theirs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
    ) -> list[np.ndarray]:
        (tensor,) = theirs
        _, num_heads, _ = shapes[0]
        sizes = [shape[-1] for shape in shapes]
        if tensor.ndim != 2 or tensor.shape[0] != num_heads * sum(sizes):
            raise _errors.CheckpointError(
                f"{num_heads} heads of {' + '.join(map(str, sizes))} need "
                f"{num_heads * sum(sizes)} rows"
            )
        heads = tensor.reshape(num_heads, sum(sizes), -1)
        parts = np.split(heads, np.cumsum(sizes)[:-1], axis=1)
        return [part.transpose(2, 0, 1) for part in parts]

    def to_theirs(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        heads = np.concatenate([x.transpose(1, 2, 0) for x in ours], axis=1)
        return [heads.reshape(-1, heads.shape[-1])]


@dataclasses.dataclass(frozen=True)
class HeadsOfPairs:
    """Heads whose features were sorted into the pairs that a rotation turns.

    GGUF files of LLaMA's architecture have neighbours where Hugging Face's, and
    `Rope(layout="half")`, have one feature of each half.
    """

    def to_ours(
        self, theirs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
    ) -> list[np.ndarray]:
        (tensor,) = theirs
        ((*_, num_heads, head_dim),) = shapes
        if tensor.shape[0] != num_heads * head_dim:
            raise _errors.CheckpointError(
                f"{num_heads} heads of {head_dim} need {num_heads * head_dim} rows"
            )
        pairs = tensor.reshape(num_heads, head_dim // 2, 2, *tensor.shape[1:])
        halves = pairs.swapaxes(1, 2).reshape(num_heads, head_dim, *tensor.shape[1:])
        return [np.moveaxis(halves, -1, 0) if tensor.ndim == 2 else halves]

    def to_theirs(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        (x,) = ours
        halves = np.moveaxis(x, 0, -1) if x.ndim == 3 else x
        num_heads, head_dim, *rest = halves.shape
        pairs = halves.reshape(num_heads, 2, head_dim // 2, *rest).swapaxes(1, 2)
        return [pairs.reshape(num_heads * head_dim, *rest)]


@dataclasses.dataclass(frozen=True)
class OneLess:
    """Scales of norms that multiply by `1 + w`, of files that have `1 + w`."""

    def to_ours(
        self, theirs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
    ) -> list[np.ndarray]:
        del shapes
        return [x - np.ones((), x.dtype) for x in theirs]

    def to_theirs(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [x + np.ones((), x.dtype) for x in ours]


def _matrix(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.weight", f"{ours}.kernel", _MATRIX),
        Rule(f"{theirs}.bias", f"{ours}.bias"),
    )


def _heads(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.weight", f"{ours}.kernel", _HEADS),
        Rule(f"{theirs}.bias", f"{ours}.bias", _HEADS_BIAS),
    )


def _gated(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        *_matrix(f"{theirs}.gate_proj", f"{ours}.gate"),
        *_matrix(f"{theirs}.up_proj", f"{ours}.up"),
        *_matrix(f"{theirs}.down_proj", f"{ours}.down"),
    )


_HF_LAYER = "model.layers.{i}"
_HF_ATTENTION = f"{_HF_LAYER}.self_attn"
_HF_ENDS = (
    Rule("model.embed_tokens.weight", "params.embedding"),
    *norm("model.norm", "final_norm"),
    Rule("lm_head.weight", "params.head", _MATRIX),
)
_HF_BLOCK = (
    *norm(f"{_HF_LAYER}.input_layernorm", "layer_{i}.attention_norm"),
    *_heads(f"{_HF_ATTENTION}.q_proj", f"{_ATTENTION}.query"),
    *_heads(f"{_HF_ATTENTION}.k_proj", f"{_ATTENTION}.key"),
    *_heads(f"{_HF_ATTENTION}.v_proj", f"{_ATTENTION}.value"),
    *norm(f"{_HF_ATTENTION}.q_norm", "layer_{i}.attention.query_norm"),
    *norm(f"{_HF_ATTENTION}.k_norm", "layer_{i}.attention.key_norm"),
    Rule(f"{_HF_ATTENTION}.o_proj.weight", f"{_ATTENTION}.out.kernel", _OUT),
    Rule(f"{_HF_ATTENTION}.o_proj.bias", f"{_ATTENTION}.out.bias"),
    *_gated(f"{_HF_LAYER}.mlp", _FEED_FORWARD),
)
_HF_TWO_NORMS = norm(
    f"{_HF_LAYER}.post_attention_layernorm", "layer_{i}.feed_forward_norm"
)
# What follows from the config, and some files have nevertheless.
_HF_UNUSED = ("rotary_emb.inv_freq",)

HF_LLAMA = Layout(
    name="hf_llama",
    model=_MODEL,
    rules=(*_HF_ENDS, *_HF_BLOCK, *_HF_TWO_NORMS),
    unused=_HF_UNUSED,
)

HF_GEMMA = Layout(
    name="hf_gemma",
    model=_MODEL,
    rules=(
        *_HF_ENDS,
        *_HF_BLOCK,
        *norm(f"{_HF_LAYER}.post_attention_layernorm", "layer_{i}.attention_post_norm"),
        *norm(f"{_HF_LAYER}.pre_feedforward_layernorm", "layer_{i}.feed_forward_norm"),
        *norm(
            f"{_HF_LAYER}.post_feedforward_layernorm",
            "layer_{i}.feed_forward_post_norm",
        ),
    ),
    unused=_HF_UNUSED,
)

_HF_MIXTRAL_MOE = f"{_HF_LAYER}.block_sparse_moe"

HF_MIXTRAL = Layout(
    name="hf_mixtral",
    model=_MODEL,
    rules=(
        *_HF_ENDS,
        *_HF_BLOCK,
        *_HF_TWO_NORMS,
        Rule(f"{_HF_MIXTRAL_MOE}.gate.weight", f"{_FEED_FORWARD}.router", _MATRIX),
        *(
            Rule(
                f"{_HF_MIXTRAL_MOE}.experts.{{e}}.{theirs}.weight",
                f"{_FEED_FORWARD}.{ours}",
                _MATRIX,
            )
            for theirs, ours in (("w1", "gate"), ("w3", "up"), ("w2", "down"))
        ),
    ),
    unused=_HF_UNUSED,
)

HF_DEEPSEEK = Layout(
    name="hf_deepseek",
    model=_MODEL,
    rules=(
        # Before those of other families: of several names, the first is written.
        *_matrix(f"{_HF_ATTENTION}.q_a_proj", f"{_ATTENTION}.query_down"),
        *norm(f"{_HF_ATTENTION}.q_a_layernorm", "layer_{i}.attention.query_norm"),
        *_heads(f"{_HF_ATTENTION}.q_b_proj", f"{_ATTENTION}.query_up"),
        *_matrix(f"{_HF_ATTENTION}.kv_a_proj_with_mqa", f"{_ATTENTION}.latent"),
        *norm(f"{_HF_ATTENTION}.kv_a_layernorm", "layer_{i}.attention.latent_norm"),
        Rule(
            f"{_HF_ATTENTION}.kv_b_proj.weight",
            (f"{_ATTENTION}.key_up", f"{_ATTENTION}.value_up"),
            JoinedWithinHeads(),
        ),
        Rule(f"{_HF_LAYER}.mlp.gate.weight", f"{_FEED_FORWARD}.router", _MATRIX),
        Rule(
            f"{_HF_LAYER}.mlp.gate.e_score_correction_bias",
            f"{_FEED_FORWARD}.selection_bias",
        ),
        *(
            Rule(
                f"{_HF_LAYER}.mlp.experts.{{e}}.{name}_proj.weight",
                f"{_FEED_FORWARD}.{name}",
                _MATRIX,
            )
            for name in ("gate", "up", "down")
        ),
        *_gated(f"{_HF_LAYER}.mlp.shared_experts", f"{_FEED_FORWARD}.shared"),
        *_HF_ENDS,
        *_HF_BLOCK,
        *_HF_TWO_NORMS,
    ),
    unused=_HF_UNUSED,
)

_GPT2_LAYER = "transformer.h.{i}"
_QKV = ("query", "key", "value")

HF_GPT2 = Layout(
    name="hf_gpt2",
    model=_MODEL,
    base="transformer.",
    rules=(
        Rule("transformer.wte.weight", "params.embedding"),
        Rule("transformer.wpe.weight", "params.position_embedding"),
        *norm("transformer.ln_f", "final_norm"),
        Rule("lm_head.weight", "params.head", _MATRIX),
        *norm(f"{_GPT2_LAYER}.ln_1", "layer_{i}.attention_norm"),
        *norm(f"{_GPT2_LAYER}.ln_2", "layer_{i}.feed_forward_norm"),
        # Its layers have the input first, as ours.
        Rule(
            f"{_GPT2_LAYER}.attn.c_attn.weight",
            tuple(f"{_ATTENTION}.{name}.kernel" for name in _QKV),
            Rearrange("embed (heads head_dim) -> embed heads head_dim", joined_axis=1),
        ),
        Rule(
            f"{_GPT2_LAYER}.attn.c_attn.bias",
            tuple(f"{_ATTENTION}.{name}.bias" for name in _QKV),
            _HEADS_BIAS,
        ),
        Rule(
            f"{_GPT2_LAYER}.attn.c_proj.weight",
            f"{_ATTENTION}.out.kernel",
            "(heads head_dim) embed -> heads head_dim embed",
        ),
        Rule(f"{_GPT2_LAYER}.attn.c_proj.bias", f"{_ATTENTION}.out.bias"),
        *(
            Rule(
                f"{_GPT2_LAYER}.mlp.{theirs}.{kind}", f"{_FEED_FORWARD}.{ours}.{value}"
            )
            for theirs, ours in (("c_fc", "up"), ("c_proj", "down"))
            for kind, value in (("weight", "kernel"), ("bias", "bias"))
        ),
    ),
    unused=("attn.bias", "attn.masked_bias"),
)


# Name of a norm in a GGUF file -> its name here.
_GGUF_NORMS = {
    "output_norm": "final_norm",
    "blk.{i}.attn_norm": "layer_{i}.attention_norm",
    "blk.{i}.attn_q_norm": "layer_{i}.attention.query_norm",
    "blk.{i}.attn_k_norm": "layer_{i}.attention.key_norm",
    "blk.{i}.post_attention_norm": "layer_{i}.attention_post_norm",
    "blk.{i}.ffn_norm": "layer_{i}.feed_forward_norm",
    "blk.{i}.post_ffw_norm": "layer_{i}.feed_forward_post_norm",
}


def _gguf(
    name: str,
    heads: str | HeadsOfPairs = _HEADS,
    bias: str | HeadsOfPairs = _HEADS_BIAS,
    scale: str | OneLess = "d -> d",
) -> Layout:
    """Returns the layout of a file in which queries, keys and norms are such."""
    layer, plain = "blk.{i}", (_HEADS, _HEADS_BIAS)
    rules: list[Rule] = []
    for theirs, ours, forms in (
        ("attn_q", "query", (heads, bias)),
        ("attn_k", "key", (heads, bias)),
        ("attn_v", "value", plain),
    ):
        kinds = zip(("weight", "bias"), ("kernel", "bias"), forms, strict=True)
        rules += [
            Rule(f"{layer}.{theirs}.{kind}", f"{_ATTENTION}.{ours}.{value}", form)
            for kind, value, form in kinds
        ]
    return Layout(
        name=name,
        model=_MODEL,
        rules=(
            Rule("token_embd.weight", "params.embedding"),
            Rule("output.weight", "params.head", _MATRIX),
            *rules,
            *(
                Rule(f"{theirs}.weight", f"params.{ours}.scale", scale)
                for theirs, ours in _GGUF_NORMS.items()
            ),
            Rule(f"{layer}.attn_output.weight", f"{_ATTENTION}.out.kernel", _OUT),
            Rule(f"{layer}.ffn_gate_inp.weight", f"{_FEED_FORWARD}.router", _MATRIX),
            *(
                rule
                for part in ("gate", "up", "down")
                for rule in (
                    *_matrix(f"{layer}.ffn_{part}", f"{_FEED_FORWARD}.{part}"),
                    Rule(
                        f"{layer}.ffn_{part}_exps.weight",
                        f"{_FEED_FORWARD}.{part}",
                        "expert d_out d_in -> expert d_in d_out",
                    ),
                )
            ),
        ),
        unused=("rope_freqs.weight",),  # in the config, as a scaling
    )


GGUF_LLAMA = _gguf("gguf_llama", heads=HeadsOfPairs(), bias=HeadsOfPairs())
GGUF_QWEN = _gguf("gguf_qwen")
GGUF_GEMMA = _gguf("gguf_gemma", scale=OneLess())

LAYOUTS = {
    layout.name: layout
    for layout in (
        HF_LLAMA,
        HF_GEMMA,
        HF_MIXTRAL,
        HF_DEEPSEEK,
        HF_GPT2,
        GGUF_LLAMA,
        GGUF_QWEN,
        GGUF_GEMMA,
    )
}
