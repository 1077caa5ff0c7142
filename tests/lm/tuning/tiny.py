"""A decoder of two layers, and rows for it."""

from __future__ import annotations

import numpy as np

from kauldron import kd

VOCAB, LENGTH = 32, 6
BOTH = ("**.attention.*.kernel", "**.feed_forward.*.kernel")


def decoder(**options):
    sizes = {"vocab_size": VOCAB, "features": 16, "num_heads": 2, "num_layers": 2}
    return kd.nn.decoder(
        options.pop("family", "llama"),
        hidden_features=32,
        tokens="batch.tokens",
        **sizes,
        **options,
    )


def rows(seed, num_rows=8, length=LENGTH):
    tokens = np.random.default_rng(seed).integers(VOCAB, size=(num_rows, length + 1))
    return {
        "tokens": tokens[:, :-1].astype(np.int32),
        "targets": tokens[:, 1:].astype(np.int32),
        "loss_mask": np.ones((num_rows, length), np.float32),
    }
