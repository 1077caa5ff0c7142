"""What calling an exported program costs over calling the model, in one run.

make bench
"""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

BATCH_SIZE = 64


class _ConvNet(nn.Module):
    image: kd.kontext.Key = "batch.image"

    @nn.compact
    def __call__(self, image):
        x = image
        for features in (32, 64, 64):
            x = nn.relu(nn.Conv(features, (3, 3), strides=(2, 2))(x))
        return {"logits": nn.Dense(10)(x.reshape(x.shape[0], -1))}


def _mlp():
    layers = [kd.nn.Rearrange("b h w c -> b (h w c)"), nn.Dense(64), nn.Dense(10)]
    return kd.nn.Sequential(inputs="batch.image", outputs="logits", layers=layers)


@pytest.mark.parametrize(
    ("name", "make", "num_calls"),
    [("convolutions", _ConvNet, 20), ("tiny model", _mlp, 1000)],
)
def test_a_call_costs_what_the_model_costs(tmp_path, figures, name, make, num_calls):
    model = make()
    image = jax.random.normal(jax.random.key(0), (BATCH_SIZE, 32, 32, 3))
    params = model.init(jax.random.key(1), image)["params"]
    state = kd.train.TrainState(step=0, params=params)
    kd.export.export(model, state, tmp_path / "out", batch={"image": np.asarray(image)})
    loaded = kd.export.load(tmp_path / "out")
    apply = jax.jit(model.apply)
    exported = loaded._call  # what the README calls `model`
    weights, inputs = loaded.weights, {"image": image}

    def of_the_model():
        return apply({"params": params}, image)

    def of_the_program():
        return exported(weights, inputs)

    def several(function):
        def run():
            for _ in range(num_calls):
                preds = function()
            jax.block_until_ready(preds)

        return lambda: clocks.timed(run)().per(num_calls)

    secs = clocks.in_turn(
        {"model": several(of_the_model), "program": several(of_the_program)}, 41
    )
    model_ms = clocks.medians(secs["model"]).wall * 1e3
    figures.ratio(
        f"exported program, {name}",
        secs["program"],
        secs["model"],
        against=f"`jit(model.apply)` ({model_ms:.2g} ms a call)",
        budget=1.02,
    )
