"""Families of published decoders: what their `config.json` says, as tables.

A config names sizes (`fields`), and options that a family here has one way only
(`fixed`). What a config does not say is what the family's own code takes (`defaults`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """How a family of models is described.

    Attributes:
      model_type: Its name in a `config.json`.
      architecture: Name of the class with a head.
      decoder: Its name for `kd.nn.decoder`.
      layout: Of its files, of `kd.ckpts.pretrained.LAYOUTS`.
      fields: Name in the config -> argument of `kd.nn.decoder`.
      defaults: Name in the config -> what it is unless said.
      fixed: Name in the config -> its only value.
      has_rope: Whether it has rotary embeddings.
      length: Name in the config of the longest context.
      global_every: In how many layers one sees everything, unless said; `None` if all
        layers are alike.
    """

    model_type: str
    architecture: str
    decoder: str
    layout: str
    fields: Mapping[str, str]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_rope: bool = True
    length: str = "max_position_embeddings"
    global_every: int | None = None


_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "features",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "intermediate_size": "hidden_features",
    "rms_norm_eps": "epsilon",
    "tie_word_embeddings": "has_tied_head",
}
_HEAD_DIM = {"head_dim": "head_dim"}
_WINDOW = {"sliding_window": "window"}
_DEFAULTS = {
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "num_key_value_heads": None,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 2048,
}
_FIXED = {"hidden_act": "silu", "attention_bias": False}
_GEMMA_FIELDS = {**_FIELDS, **_HEAD_DIM, **_WINDOW}
_GEMMA_DEFAULTS = {
    **_DEFAULTS,
    "tie_word_embeddings": True,
    "head_dim": 256,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
}
_GEMMA_FIXED = {"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False}
_DEEPSEEK_DEFAULTS = {
    **_DEFAULTS,
    "q_lora_rank": None,
    "n_shared_experts": None,
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 0,
    "rope_interleave": True,
}

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="llama",
            architecture="LlamaForCausalLM",
            decoder="llama",
            layout="hf_llama",
            fields={**_FIELDS, **_HEAD_DIM},
            defaults={**_DEFAULTS, "head_dim": None},
            fixed={**_FIXED, "mlp_bias": False},
        ),
        Family(
            model_type="mistral",
            architecture="MistralForCausalLM",
            decoder="mistral",
            layout="hf_llama",
            fields={**_FIELDS, **_HEAD_DIM, **_WINDOW},
            defaults={**_DEFAULTS, "head_dim": None, "sliding_window": 4096},
            fixed=_FIXED,
        ),
        Family(
            model_type="qwen2",
            architecture="Qwen2ForCausalLM",
            decoder="qwen2",
            layout="hf_llama",
            fields=_FIELDS,
            defaults=_DEFAULTS,
            fixed={"hidden_act": "silu", "use_sliding_window": False},
        ),
        Family(
            model_type="qwen3",
            architecture="Qwen3ForCausalLM",
            decoder="qwen3",
            layout="hf_llama",
            fields={**_FIELDS, **_HEAD_DIM},
            defaults={**_DEFAULTS, "head_dim": 128},
            fixed={**_FIXED, "use_sliding_window": False},
        ),
        Family(
            model_type="gemma2",
            architecture="Gemma2ForCausalLM",
            decoder="gemma2",
            layout="hf_gemma",
            fields=_GEMMA_FIELDS,
            defaults=_GEMMA_DEFAULTS,
            fixed={
                **_GEMMA_FIXED,
                "attn_logit_softcapping": 50.0,
                "final_logit_softcapping": 30.0,
            },
            global_every=2,
        ),
        Family(
            model_type="gemma3_text",
            architecture="Gemma3ForCausalLM",
            decoder="gemma3",
            layout="hf_gemma",
            fields=_GEMMA_FIELDS,
            defaults={
                **_GEMMA_DEFAULTS,
                "rope_theta": 1e6,
                "rope_local_base_freq": 1e4,
            },
            fixed={
                **_GEMMA_FIXED,
                "attn_logit_softcapping": None,
                "final_logit_softcapping": None,
                "rope_local_base_freq": 1e4,
                "use_bidirectional_attention": False,
            },
            global_every=6,
        ),
        Family(
            model_type="gpt2",
            architecture="GPT2LMHeadModel",
            decoder="gpt2",
            layout="hf_gpt2",
            fields={
                "vocab_size": "vocab_size",
                "n_embd": "features",
                "n_layer": "num_layers",
                "n_head": "num_heads",
                "n_inner": "hidden_features",
                "n_positions": "max_positions",
                "layer_norm_epsilon": "epsilon",
                "tie_word_embeddings": "has_tied_head",
            },
            defaults={
                "n_inner": None,
                "n_positions": 1024,
                "layer_norm_epsilon": 1e-5,
                "tie_word_embeddings": True,
            },
            fixed={
                "activation_function": "gelu_new",
                "scale_attn_weights": True,
                "scale_attn_by_inverse_layer_idx": False,
                "add_cross_attention": False,
            },
            has_rope=False,
            length="n_positions",
        ),
        Family(
            model_type="mixtral",
            architecture="MixtralForCausalLM",
            decoder="mixtral",
            layout="hf_mixtral",
            fields={**_FIELDS, **_HEAD_DIM, **_WINDOW},
            defaults={
                **_DEFAULTS,
                "rms_norm_eps": 1e-5,
                "rope_theta": 1e6,
                "head_dim": None,
                "sliding_window": None,
                "num_local_experts": 8,
                "num_experts_per_tok": 2,
            },
            fixed=_FIXED,
        ),
        Family(
            model_type="deepseek_v2",
            architecture="DeepseekV2ForCausalLM",
            decoder="deepseek",
            layout="hf_deepseek",
            fields=_FIELDS,
            defaults={
                **_DEEPSEEK_DEFAULTS,
                "norm_topk_prob": False,
                "topk_method": "greedy",
            },
            fixed={**_FIXED, "moe_layer_freq": 1, "scoring_func": "softmax"},
        ),
        Family(
            model_type="deepseek_v3",
            architecture="DeepseekV3ForCausalLM",
            decoder="deepseek",
            layout="hf_deepseek",
            fields=_FIELDS,
            defaults={**_DEEPSEEK_DEFAULTS, "norm_topk_prob": True},
            fixed={
                **_FIXED,
                "moe_layer_freq": 1,
                "scoring_func": "sigmoid",
                "rope_interleave": True,
            },
        ),
    )
}
