"""A run of a tiny language model, with an evaluator that writes."""

from __future__ import annotations

import functools

import numpy as np

from kauldron import konfig

with konfig.imports():
    import optax

    from kauldron import kd
    from tests.apps.verbs import text_run

TEXTS = ["the sun and the moon", "a king and a fool", "the moon", "a sword"]


def vocab_size():
    return _trained().num_tokens


def tokenizer():
    return _trained()


@functools.cache
def _trained():
    from kauldron import lm

    return lm.Tokenizer.train(TEXTS, 280)


class Rows:
    """Packed rows of a text, the same each time."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        tokens = np.resize(tokenizer().encode(TEXTS[index % 4]), 9).astype(np.int32)
        return {"tokens": tokens[:-1], "targets": tokens[1:]}


def prompts():
    return [{"prompt": text, "answer": "moon"} for text in TEXTS]


def get_config(workdir):
    cfg = kd.train.Trainer()
    cfg.workdir = str(workdir)
    cfg.train_ds = kd.data.py.DataSource(text_run.Rows(), shuffle=True, batch_size=8)
    cfg.model = kd.nn.decoder(
        "llama",
        vocab_size=text_run.vocab_size(),
        features=16,
        num_layers=1,
        num_heads=2,
        hidden_features=16,
        tokens="batch.tokens",
    )
    cfg.num_train_steps = 1
    cfg.train_losses = {
        "nats": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.targets[..., None]"
        )
    }
    cfg.optimizer = optax.adam(1e-3)
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1)
    cfg.evals = {
        "writes": kd.lm.GenerationEvaluator(
            run=kd.evals.Once(100),
            prompts=text_run.prompts(),
            tokenizer=text_run.tokenizer(),
            max_tokens=6,
            metrics={
                "errors": kd.metrics.CharErrorRate(
                    preds="preds.text", targets="batch.answer"
                )
            },
        )
    }
    return cfg
