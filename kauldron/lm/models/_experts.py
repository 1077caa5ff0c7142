"""Experts and latent attention in a `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kauldron import modules as nn
from kauldron.lm.models import _rope_scaling
from kauldron.lm.models._families import Family

# Name in a config -> field of `kd.nn.MLAttention`.
_LATENT = {
    "num_attention_heads": "num_heads",
    "kv_lora_rank": "kv_rank",
    "q_lora_rank": "query_rank",
    "qk_nope_head_dim": "head_dim",
    "qk_rope_head_dim": "rope_head_dim",
    "v_head_dim": "value_head_dim",
}
# Name in a config -> field of `kd.nn.Routing`.
_ROUTING = {
    "num_experts_per_tok": "num_selected",
    "norm_topk_prob": "is_normalized",
    "routed_scaling_factor": "scale",
    "n_group": "num_groups",
    "topk_group": "num_selected_groups",
}
_V3_ROUTING = {"scores": "sigmoid", "group_score": "best_two", "has_bias": True}


def arguments_of_config(
    family: Family,
    config: Mapping[str, Any],
    arguments: dict[str, Any],
    common: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the arguments of `kd.nn.decoder` for experts and latent attention.

    Args:
      family: Of the model.
      config: Its config, with defaults.
      arguments: Those already known; the rotary embedding of latent attention is taken
        out of them.
      common: Dtypes.
    """
    if family.decoder == "mixtral":
        return {
            "moe": nn.MoE(
                num_experts=config["num_local_experts"],
                hidden_features=config["intermediate_size"],
                routing=nn.Routing(num_selected=config["num_experts_per_tok"]),
                **common,
            )
        }
    if family.decoder != "deepseek":
        return {}
    rope = arguments.pop("rope")
    del arguments["num_kv_heads"]
    mla = nn.MLAttention(
        **{ours: config[theirs] for theirs, ours in _LATENT.items()},
        rope=nn.Rope(theta=rope.theta, scaling=rope.scaling, layout="pair"),
        scale=_latent_scale(config, rope),
        **common,
    )
    width, num_shared = config["moe_intermediate_size"], config["n_shared_experts"]
    shared = None
    if num_shared:
        shared = nn.FeedForward(width * num_shared, **common)
    moe = nn.MoE(
        num_experts=config["n_routed_experts"],
        hidden_features=width,
        routing=_routing(family, config),
        shared=shared,
        **common,
    )
    return {"mla": mla, "moe": moe, "num_dense_layers": config["first_k_dense_replace"]}


def _latent_scale(config: Mapping[str, Any], rope: nn.Rope) -> float | None:
    """Returns the factor of the logits; a YaRN amplitude multiplies them, squared."""
    scaling = rope.scaling
    if not isinstance(scaling, nn.YarnScaling) or not scaling.mscale_all_dim:
        return None
    size = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    return size**-0.5 * scaling.amplitude_of(scaling.mscale_all_dim) ** 2


def _routing(family: Family, config: Mapping[str, Any]) -> nn.Routing:
    values = {ours: config[theirs] for theirs, ours in _ROUTING.items()}
    if family.model_type == "deepseek_v3":
        return nn.Routing(**values, **_V3_ROUTING)
    if config["topk_method"] == "greedy":
        values |= {"num_groups": 1, "num_selected_groups": 1}
    return nn.Routing(**values)


def is_of(family: Family, model: nn.CausalLM) -> bool:
    """Whether a model has the experts of a family."""
    moe = model.blocks[-1].feed_forward
    if family.decoder not in ("mixtral", "deepseek"):
        return not isinstance(moe, nn.MoE)
    if not isinstance(moe, nn.MoE):
        return False
    if family.decoder == "mixtral":
        plain = nn.Routing(num_selected=moe.routing.num_selected)
        return moe.routing == plain and moe.shared is None
    has_v3_routing = all(
        getattr(moe.routing, name) == value for name, value in _V3_ROUTING.items()
    )
    return has_v3_routing == (family.model_type == "deepseek_v3")


def config_of_model(family: Family, model: nn.CausalLM) -> dict[str, Any]:
    """Returns what a config says of experts and latent attention."""
    block = model.blocks[-1]
    moe, attention = block.feed_forward, block.attention
    if family.decoder == "mixtral":
        return {
            "num_local_experts": moe.num_experts,
            "num_experts_per_tok": moe.routing.num_selected,
            "intermediate_size": moe.hidden_features,
        }
    if family.decoder != "deepseek":
        return {}
    method = "greedy" if moe.routing.num_groups == 1 else "group_limited_greedy"
    if family.model_type == "deepseek_v3":
        method = "noaux_tc"
    num_shared = 0
    if moe.shared is not None:
        num_shared = moe.shared.hidden_features // moe.hidden_features
    return {
        **{theirs: getattr(attention, ours) for theirs, ours in _LATENT.items()},
        **{theirs: getattr(moe.routing, ours) for theirs, ours in _ROUTING.items()},
        **_rope_scaling.config_of_rope(attention.rope),
        "n_routed_experts": moe.num_experts,
        "n_shared_experts": num_shared,
        "moe_intermediate_size": moe.hidden_features,
        "first_k_dense_replace": len(model.first_blocks),
        "topk_method": method,
    }
