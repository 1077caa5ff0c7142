"""A run on rollouts, small enough to repeat: a two-layer model that likes vowels."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax

from kauldron import kd
from tests.lm import small_model

PROMPTS = [{"prompt": text, "answer": text[0]} for text in ("The ", "quick", "fox ju")]


def share_of_vowels(text: str, element: Any) -> float:
    return sum(c in "aeiou" for c in text) / max(len(text), 1)


def make_ds(**changes: Any) -> kd.rl.RolloutPipeline:
    kwargs: dict[str, Any] = {
        "prompts": PROMPTS,
        "tokenizer": small_model.tokenizer(),
        "rewards": {
            "vowels": kd.rl.FunctionReward(function=share_of_vowels),
            "short": kd.rl.LengthReward(at_most=4, slope=4, weight=0.5),
        },
        "length": 16,
        "max_tokens": 6,
        "group_size": 4,
        "batch_size": 8,
    }
    return kd.rl.RolloutPipeline(**(kwargs | changes))


def lora() -> kd.lm.LoRA:
    return kd.lm.LoRA(
        model=small_model.model(), rank=2, targets=["**.attention.*.kernel"]
    )


def make_trainer(workdir: Any, **changes: Any) -> kd.train.Trainer:
    base = small_model.params(small_model.model())
    kwargs: dict[str, Any] = {
        "workdir": workdir,
        "seed": 3,
        "train_ds": make_ds(),
        "model": kd.lm.WithReference(policy=lora()),
        "init_transform": kd.lm.BaseWeights(base),
        "num_train_steps": 4,
        "train_losses": {
            "grpo": kd.lm.GRPO(reference_logps="preds.reference.logps", kl_coef=0.01)
        },
        "train_metrics": {
            "rollout": kd.rl.RolloutStatistics(),
            "drift": kd.lm.PolicyDrift(),
        },
        "optimizer": optax.adam(3e-2),
        "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=1),
        "log_metrics_every": 1,
    }
    return kd.train.Trainer(**(kwargs | changes))


def numbers(state: Any) -> list[np.ndarray]:
    """Returns all that a state has learnt."""
    return [np.asarray(x) for x in jax.tree.leaves((state.params, state.opt_state))]
