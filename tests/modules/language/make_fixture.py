"""Writes the logits of tiny models of transformers: `python make_fixture.py`.

Needs torch and transformers (5.24 wrote the file that is here). Their weights are drawn
from the names that `kd.nn` gives to the same parameters, by the tables below.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import families

_HEADS, _WIDTH = 4, 32


def _config(name):
    a = families.arguments(name)
    mla, moe = a.get("mla"), a.get("moe")
    common = {
        "vocab_size": 64,
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": a.get("num_kv_heads", _HEADS),
        "intermediate_size": a["hidden_features"],
        "max_position_embeddings": 64,
        "attn_implementation": "eager",
        "pad_token_id": None,
    }
    t = transformers
    match name:
        case "llama":
            rope = {
                "rope_type": "llama3",
                "rope_theta": 1e4,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
            return t.LlamaConfig(**common, rms_norm_eps=1e-5, rope_parameters=rope)
        case "mistral":
            rope = {"rope_type": "default", "rope_theta": 1e4}
            return t.MistralConfig(
                **common, rms_norm_eps=1e-5, sliding_window=5, rope_parameters=rope
            )
        case "mixtral":
            rope = {"rope_type": "default", "rope_theta": 1e6}
            common["intermediate_size"] = moe["hidden_features"]
            return t.MixtralConfig(
                **common,
                rms_norm_eps=1e-5,
                sliding_window=None,
                num_local_experts=moe["num_experts"],
                num_experts_per_tok=2,
                rope_parameters=rope,
            )
        case "qwen2":
            rope = {
                "rope_type": "yarn",
                "rope_theta": 1e6,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            }
            return t.Qwen2Config(
                **common, tie_word_embeddings=True, rope_parameters=rope
            )
        case "qwen3":
            rope = {"rope_type": "default", "rope_theta": 1e6}
            return t.Qwen3Config(**common, head_dim=16, rope_parameters=rope)
        case "gemma2":
            rope = {"rope_type": "default", "rope_theta": 1e4}
            return t.Gemma2Config(
                **common,
                head_dim=16,
                sliding_window=5,
                query_pre_attn_scalar=12,
                rope_parameters=rope,
            )
        case "gemma3":
            return t.Gemma3TextConfig(
                **common,
                head_dim=16,
                sliding_window=5,
                query_pre_attn_scalar=12,
                layer_types=["sliding_attention", "full_attention"],
                rope_parameters={
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                },
            )
        case "gpt2":
            return t.GPT2Config(
                vocab_size=64,
                n_positions=16,
                n_embd=_WIDTH,
                n_layer=2,
                n_head=_HEADS,
                n_inner=48,
                attn_implementation="eager",
            )
    routing = moe["routing"]
    latent = {
        "kv_lora_rank": mla["kv_rank"],
        "q_lora_rank": mla.get("query_rank"),
        "qk_nope_head_dim": mla["head_dim"],
        "qk_rope_head_dim": mla["rope_head_dim"],
        "v_head_dim": mla["value_head_dim"],
        "n_routed_experts": moe["num_experts"],
        "num_experts_per_tok": routing["num_selected"],
        "moe_intermediate_size": moe["hidden_features"],
        "n_group": routing["num_groups"],
        "topk_group": routing["num_selected_groups"],
        "routed_scaling_factor": routing["scale"],
        "first_k_dense_replace": 1,
    }
    if name == "deepseek_v2":
        return t.DeepseekV2Config(
            **common,
            **latent,
            n_shared_experts=2,
            topk_method="group_limited_greedy",
            norm_topk_prob=False,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        )
    return t.DeepseekV3Config(
        **common,
        **latent,
        n_shared_experts=1,
        norm_topk_prob=True,
        rope_interleave=True,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "beta_fast": 32,
            "beta_slow": 1,
        },
    )


_FIXED = {
    "model.embed_tokens.weight": "embedding",
    "model.norm.weight": "final_norm.scale",
    "transformer.wte.weight": "embedding",
    "transformer.wpe.weight": "position_embedding",
    "transformer.ln_f.weight": "final_norm.scale",
    "transformer.ln_f.bias": "final_norm.bias",
}
_NORMS = {
    "input_layernorm": "attention_norm",
    "pre_feedforward_layernorm": "feed_forward_norm",
    "self_attn.q_norm": "attention.query_norm",
    "self_attn.k_norm": "attention.key_norm",
    "self_attn.q_a_layernorm": "attention.query_norm",
    "self_attn.kv_a_layernorm": "attention.latent_norm",
    "post_feedforward_layernorm": "feed_forward_post_norm",
    "ln_1": "attention_norm",
    "ln_2": "feed_forward_norm",
}
_MATRICES = {
    "mlp.gate_proj": "feed_forward.gate",
    "mlp.up_proj": "feed_forward.up",
    "mlp.down_proj": "feed_forward.down",
    "mlp.shared_experts.gate_proj": "feed_forward.shared.gate",
    "mlp.shared_experts.up_proj": "feed_forward.shared.up",
    "mlp.shared_experts.down_proj": "feed_forward.shared.down",
    "self_attn.q_a_proj": "attention.query_down",
    "self_attn.kv_a_proj_with_mqa": "attention.latent",
}
_HEADED = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "q_b_proj": "query_up",
}


def _values(config, name, shape):
    """Returns the weights of one parameter of transformers."""
    w = families.weights
    if name in _FIXED:
        return w(_FIXED[name], shape)
    if name == "lm_head.weight":
        return w("head", shape[::-1]).T
    _, _, number, *rest, kind = name.split(".")
    layer, part = f"layer_{number}.", ".".join(rest)
    if part == "post_attention_layernorm":
        has_four = config.model_type.startswith("gemma")
        ours = "attention_post_norm" if has_four else "feed_forward_norm"
        return w(f"{layer}{ours}.scale", shape)
    if part in _NORMS:
        ours = "bias" if kind == "bias" else "scale"
        return w(f"{layer}{_NORMS[part]}.{ours}", shape)
    if part in _MATRICES:
        return w(f"{layer}{_MATRICES[part]}.kernel", shape[::-1]).T
    return _attention(config, layer, rest, kind, shape)


def _attention(config, layer, rest, kind, shape):
    w = families.weights
    last = rest[-1]
    if last in _HEADED:
        heads = config.num_attention_heads
        if last in ("k_proj", "v_proj"):
            heads = config.num_key_value_heads
        name = f"{layer}attention.{_HEADED[last]}."
        if last == "q_proj" and "kv_lora_rank" in vars(config):
            name = f"{layer}attention.query."
        if kind == "bias":
            return w(name + "bias", (heads, shape[0] // heads)).ravel()
        kernel = w(name + "kernel", (shape[1], heads, shape[0] // heads))
        return kernel.reshape(shape[1], -1).T
    if last == "o_proj":
        kernel = (_HEADS, shape[1] // _HEADS, shape[0])
        return w(f"{layer}attention.out.kernel", kernel).reshape(-1, shape[0]).T
    if last == "kv_b_proj":
        rank, key, value = shape[1], config.qk_nope_head_dim, config.v_head_dim
        both = [
            w(f"{layer}attention.key_up", (rank, _HEADS, key)),
            w(f"{layer}attention.value_up", (rank, _HEADS, value)),
        ]
        return np.concatenate(both, axis=-1).reshape(rank, -1).T
    if last in ("c_attn", "c_proj", "c_fc"):
        return _of_gpt2(layer, rest, kind, shape)
    return _experts(layer, last, kind, shape)


def _of_gpt2(layer, rest, kind, shape):
    w = families.weights
    match ".".join(rest):
        case "attn.c_attn":
            names = [f"{layer}attention.{n}.{{}}" for n in ("query", "key", "value")]
            size = (_HEADS, _WIDTH // _HEADS)
            if kind == "bias":
                return np.concatenate(
                    [w(n.format("bias"), size).ravel() for n in names]
                )
            kernels = [w(n.format("kernel"), (_WIDTH, *size)) for n in names]
            return np.concatenate([k.reshape(_WIDTH, -1) for k in kernels], axis=1)
        case "attn.c_proj":
            if kind == "bias":
                return w(f"{layer}attention.out.bias", shape)
            size = (_HEADS, _WIDTH // _HEADS, _WIDTH)
            return w(f"{layer}attention.out.kernel", size).reshape(shape)
    ours = {"c_fc": "up", "c_proj": "down"}[rest[-1]]
    kind = {"weight": "kernel"}.get(kind, kind)
    return w(f"{layer}feed_forward.{ours}.{kind}", shape)


def _experts(layer, last, kind, shape):
    w = families.weights
    name = f"{layer}feed_forward."
    if kind == "e_score_correction_bias":
        return w(name + "selection_bias", shape)
    if last == "gate":
        return w(name + "router", shape[::-1]).T
    experts, out, width = shape
    if kind == "gate_up_proj":
        both = [w(name + n, (experts, width, out // 2)) for n in ("gate", "up")]
        return np.concatenate([x.transpose(0, 2, 1) for x in both], axis=1)
    assert kind == "down_proj", (layer, last, kind)
    return w(name + "down", (experts, width, out)).transpose(0, 2, 1)


def main():
    logits = {}
    for name in families.FAMILIES:
        config = _config(name)
        model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
        is_tied = config.tie_word_embeddings
        for key, parameter in model.state_dict().items():
            if key == "lm_head.weight" and is_tied:
                continue
            values = _values(config, key, tuple(parameter.shape))
            assert values.shape == tuple(parameter.shape), key
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
        with torch.no_grad():
            out = model(torch.from_numpy(families.TOKENS), use_cache=False).logits
        logits[name] = out.numpy()
        print(name, logits[name].std())
    path = pathlib.Path(__file__).with_name("logits.npz")
    np.savez_compressed(path, **logits)


if __name__ == "__main__":
    main()
