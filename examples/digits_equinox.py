"""The network of `digits_own_model.py` as an Equinox module (`pip install equinox`).

    kauldron train --cfg=examples/digits_equinox.py --cfg.workdir=runs/equinox

An Equinox module knows one example and no batch; it is mapped over the batch.
"""

from __future__ import annotations

import equinox as eqx
import jax

from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from examples import digits_equinox
    from kauldron import kd


class Network(eqx.Module):
    """Two dense layers; `{"logits": f[10]}`."""

    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, num_features=128, *, key):
        first, last = jax.random.split(key)
        self.first = eqx.nn.Linear(8 * 8, num_features, key=first)
        self.norm = eqx.nn.BatchNorm(num_features, axis_name="batch", mode="batch")
        self.dropout = eqx.nn.Dropout(0.2)
        self.last = eqx.nn.Linear(num_features, 10, key=last)

    def __call__(self, image, state, *, key=None):
        x, state = self.norm(self.first(image.reshape(-1)), state)
        x = self.dropout(jax.nn.relu(x), key=key)
        return {"logits": self.last(x)}, state


def get_config():
    cfg = digits_classifier.get_config()
    cfg.model = kd.contrib.nn.linen_from_equinox(
        digits_equinox.Network, keys="batch.image"
    )
    return cfg
