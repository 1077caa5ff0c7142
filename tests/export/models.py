"""Small models that are exported by the tests, and what they are exported from."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kd, kontext


class Norms(nn.Module):
    """Convolution, batch normalisation, and a head; the label is not read."""

    image: kontext.Key = kontext.REQUIRED
    label: kontext.Key | None = None

    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, image, label=None):
        x = nn.Conv(4, (3, 3), name="conv")(image)
        x = nn.BatchNorm(use_running_average=not self.is_training, name="norm")(x)
        x = nn.relu(x).mean((1, 2))
        return {"logits": nn.Dense(3, name="head")(x), "more": [x]}


class Noisy(nn.Module):
    """Adds a draw of the stream `noise`."""

    x: kontext.Key = kontext.REQUIRED

    @nn.compact
    def __call__(self, x):
        y = nn.Dense(2)(x)
        return {"y": y + jax.random.normal(self.make_rng("noise"), y.shape)}


class Inner(nn.Module):
    """Applies a function between two layers, as the module `inner`."""

    function: Any
    x: kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"y": nn.Dense(2)(_Apply(self.function, name="inner")(x))}


class _Apply(nn.Module):
    function: Any

    @nn.compact
    def __call__(self, x):
        return self.function(x)


def images(num_rows: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(num_rows, 5, 5, 2)).astype(np.float32),
        "label": np.zeros((num_rows,), np.int32),
    }


def points(num_rows: int = 4) -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(num_rows, 3))
    return {"x": x.astype(np.float32)}


def state_of(model: Any, batch: Any, *, step: int = 7) -> Any:
    """A state with random weights, statistics included."""
    args, kwargs = kd.data.utils.get_model_inputs_from_batch(model, batch)
    with kd.nn.set_train_property(False):
        variables = jax.jit(
            lambda rng: model.init({"params": rng, "noise": rng}, *args, **kwargs)
        )(jax.random.key(0))
    rng = np.random.default_rng(2)
    leaves, structure = jax.tree.flatten(dict(variables))
    drawn = [jnp.asarray(rng.uniform(0.2, 1, x.shape), x.dtype) for x in leaves]
    values = structure.unflatten(drawn)
    params = values.pop("params")
    return kd.train.TrainState(step=step, params=params, collections=values)


def apply(model: Any, state: Any, batch: Any, **kwargs: Any) -> Any:
    """What Flax itself says."""
    args, named = kd.data.utils.get_model_inputs_from_batch(model, batch)
    variables = {"params": state.params, **state.collections}
    with kd.nn.set_train_property(False):
        return jax.jit(lambda v: model.apply(v, *args, **named, **kwargs))(variables)
