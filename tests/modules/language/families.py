"""Tiny models of each family, as both implementations build them; NumPy alone.

Weights are drawn from their names, so that only the expected logits are stored.
"""

from __future__ import annotations

import zlib

import numpy as np

TOKENS = np.random.default_rng(0).integers(64, size=(2, 12))

_SIZES = {
    "vocab_size": 64,
    "features": 32,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_features": 48,
}
_MLA = {
    "num_heads": 4,
    "kv_rank": 16,
    "head_dim": 8,
    "rope_head_dim": 4,
    "value_head_dim": 12,
}
_EXPERTS = {"num_experts": 4, "hidden_features": 24}
_YARN = {"factor": 4.0, "original_length": 16, "mscale": 1.0, "mscale_all_dim": 1.0}

# Keyword arguments of `kd.nn.decoder`; nested dicts are those of the module named.
FAMILIES = {
    "llama": {
        "num_kv_heads": 2,
        "rope": {
            "theta": 1e4,
            "scaling": ("Llama3Scaling", {"factor": 8.0, "original_length": 16}),
        },
    },
    "mistral": {"num_kv_heads": 2, "window": 5},
    "mixtral": {"num_kv_heads": 2, "moe": dict(_EXPERTS, routing={"num_selected": 2})},
    "qwen2": {
        "num_kv_heads": 2,
        "has_tied_head": True,
        "rope": {
            "theta": 1e6,
            "scaling": ("YarnScaling", {"factor": 4.0, "original_length": 16}),
        },
    },
    "qwen3": {"num_kv_heads": 2, "head_dim": 16},
    "gemma2": {"num_kv_heads": 2, "head_dim": 16, "window": 5, "scale": 12**-0.5},
    "gemma3": {
        "num_kv_heads": 1,
        "head_dim": 16,
        "window": 5,
        "global_every": 2,
        "scale": 12**-0.5,
    },
    "gpt2": {"max_positions": 16},
    "deepseek_v2": {
        "mla": dict(_MLA, query_rank=24),
        "moe": dict(
            _EXPERTS,
            routing={
                "num_selected": 2,
                "is_normalized": False,
                "scale": 1.5,
                "num_groups": 2,
                "num_selected_groups": 1,
            },
            shared={"hidden_features": 48},
        ),
        "num_dense_layers": 1,
    },
    "deepseek_v3": {
        "mla": dict(
            _MLA,
            rope={"layout": "pair", "scaling": ("YarnScaling", _YARN)},
            # The square of the amplitude multiplies the logits.
            scale=12**-0.5 * (0.1 * np.log(4.0) + 1) ** 2,
        ),
        "moe": dict(
            dict(_EXPERTS, num_experts=8),
            routing={
                "num_selected": 3,
                "scores": "sigmoid",
                "scale": 2.5,
                "num_groups": 4,
                "num_selected_groups": 2,
                "group_score": "best_two",
                "has_bias": True,
            },
            shared={"hidden_features": 24},
        ),
        "num_dense_layers": 1,
    },
}


def arguments(name):
    """Returns the keyword arguments of a family's tiny model."""
    return _SIZES | FAMILIES[name]


def weights(name, shape):
    """Returns the values of one parameter, by its name in `kd.nn`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(shape)
    if name.endswith("scale"):
        return (1 + 0.2 * values).astype(np.float32)
    # About what keeps activations near 1, so that every part of the model is heard.
    fan_in = 1 if len(shape) < 2 else 32
    return (values / fan_in**0.5).astype(np.float32)
