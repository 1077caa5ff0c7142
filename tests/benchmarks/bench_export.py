"""What calling an exported program costs over calling the model, in one run.

make bench
"""

from __future__ import annotations

import statistics
import time

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd

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


def _seconds(function, *, num_calls):
    start = time.perf_counter()
    for _ in range(num_calls):
        preds = function()
    jax.block_until_ready(preds)
    return (time.perf_counter() - start) / num_calls


@pytest.mark.parametrize(
    ("make", "num_calls"), [(_ConvNet, 20), (_mlp, 1000)], ids=["conv net", "tiny"]
)
def test_a_call_costs_what_the_model_costs(tmp_path, make, num_calls):
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

    times = {of_the_model: [], of_the_program: []}
    for function in times:
        jax.block_until_ready(function())
    for repetition in range(40):
        pair = list(times) if repetition % 2 else list(times)[::-1]
        for function in pair:
            times[function].append(_seconds(function, num_calls=num_calls))
    model_time, program_time = (statistics.median(x) for x in times.values())
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"\n  model {1e3 * model_time:.3f} ms, exported {1e3 * program_time:.3f} ms, "
        f"ratio {ratio:.3f} (fastest {min(times[of_the_program]) / min(times[of_the_model]):.3f})"
    )
    assert ratio <= 1.02
