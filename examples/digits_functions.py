"""The network of `digits_own_model.py` as two pure functions, without any library.

    kauldron train --cfg=examples/digits_functions.py --cfg.workdir=runs/functions

Parameters are a dict of anything made of arrays. (Batch norm is left out: with
`has_state=True` the functions take and return a state as well.)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from examples import digits_functions
    from kauldron import kd

NUM_FEATURES = 128
DROPOUT_RATE = 0.2


def init(rng, image, is_training):
    """Returns parameters."""
    sizes = {"first": (image[0].size, NUM_FEATURES), "last": (NUM_FEATURES, 10)}
    rngs = jax.random.split(rng, len(sizes))
    return {
        name: {
            "kernel": jax.random.normal(rng, size) / jnp.sqrt(size[0]),
            "bias": jnp.zeros(size[1:]),
        }
        for rng, (name, size) in zip(rngs, sizes.items(), strict=True)
    }


def apply(params, image, is_training, rng):
    """Returns predictions; `rng` is None where nothing is random."""

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    x = jax.nn.relu(dense("first", image.reshape(len(image), -1)))
    if is_training:
        keep = jax.random.bernoulli(rng, 1 - DROPOUT_RATE, x.shape)
        x = jnp.where(keep, x / (1 - DROPOUT_RATE), 0)
    return {"logits": dense("last", x)}


def get_config():
    cfg = digits_classifier.get_config()
    cfg.model = kd.nn.ExternalModule(
        model=kd.nn.FunctionModule(
            init_fn=digits_functions.init,
            apply_fn=digits_functions.apply,
            rng_kwarg_name="rng",
        ),
        keys="batch.image",
        train_kwarg_name="is_training",
    )
    return cfg
