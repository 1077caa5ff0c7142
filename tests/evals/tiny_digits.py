"""Logistic regression on the digits, as a config that compiles in no time."""

from __future__ import annotations

from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from flax import linen as nn

    from kauldron import kd


def get_config():
    cfg = digits_classifier.get_config()
    cfg.model = kd.nn.Sequential(
        inputs="batch.image",
        outputs="logits",
        layers=[kd.nn.Rearrange("b h w c -> b (h w c)"), nn.Dense(10)],
    )
    cfg.train_summaries = {}
    cfg.num_train_steps = 4
    cfg.checkpointer.save_interval_steps = 2
    cfg.evals.eval.run = kd.evals.EveryNSteps(n=2)
    return cfg
