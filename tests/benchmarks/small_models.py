"""Models that benchmarks train: all give `logits` of ten classes for rows of 16 numbers."""

from __future__ import annotations

import flax.linen as nn
import numpy as np

from kauldron import kd


class Mlp(nn.Module):
    """Dense layers of `widths`."""

    inputs: kd.kontext.Key = "batch.x"
    widths: tuple[int, ...] = (32,)

    @nn.compact
    def __call__(self, inputs):
        x = inputs
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return {"logits": nn.Dense(10)(x)}


class Convolutions(nn.Module):
    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = inputs[:, :, None, None] * inputs[:, None, :, None]
        for num_features, stride in ((16, 1), (32, 2), (64, 2)):
            x = nn.relu(nn.Conv(num_features, (3, 3), strides=stride)(x))
        return {"logits": nn.Dense(10)(x.mean((1, 2)))}


class Transformer(nn.Module):
    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = nn.Dense(96)(inputs[..., None])
        for _ in range(2):
            x += nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
            x += nn.Dense(96)(nn.relu(nn.Dense(192)(nn.LayerNorm()(x))))
        return {"logits": nn.Dense(10)(x.mean(1))}


# A million parameters: with a small batch, a step mostly moves them.
WIDE = Mlp(widths=(512,) * 5)


def points(batch_size: int = 64) -> dict[str, np.ndarray]:
    """A batch for any of them."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(batch_size, 16)).astype(np.float32),
        "label": rng.integers(10, size=(batch_size, 1)).astype(np.int32),
    }
