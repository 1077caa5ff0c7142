"""Training steps of whole models, ours over the same modules in a hand-written loop.

make bench
"""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import clocks, loops

pytestmark = pytest.mark.bench

NUM_STEPS = 10
NUM_ROUNDS = clocks.rounds(9)
BUDGET = 1.01


def _unet():
    model = kd.nn.UNet(
        image="batch.image", num_classes=4, features=(16, 32, 64), is_residual=True
    )
    return model, (4, 64, 64, 1), (4, 64, 64, 1)


def _vit():
    model = kd.nn.VitClassifier.from_variant_str(
        "ViT-S/16", num_classes=10, image="batch.image"
    )
    return model, (4, 64, 64, 3), (4, 1)


def _batch(image_shape, label_shape, num_classes=4):
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal(image_shape, np.float32),
        "label": rng.integers(num_classes, size=label_shape, dtype=np.int32),
    }


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("make", [_unet, _vit], ids=["U-Net", "ViT-S"])
def test_training_step_of_a_model(tmp_path, figures, make, request):
    model, *shapes = make()
    batch = _batch(*shapes)
    raw = loops.RawLoop(model, batch, input_key="image")
    secs = loops.in_turn(
        tmp_path,
        batch,
        {"raw": raw.run},
        num_steps=NUM_STEPS,
        num_rounds=NUM_ROUNDS,
        model=model,
    )
    raw_ms = clocks.medians(secs["raw"]).wall * 1e3
    figures.ratio(
        f"training step, {request.node.callspec.id}",
        secs["ours"],
        secs["raw"],
        against=f"the same modules in a hand-written loop ({raw_ms:.0f} ms a step)",
        budget=BUDGET,
    )
