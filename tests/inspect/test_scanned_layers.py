"""Looks at a model whose layers are a scan, with helper methods that return no arrays."""

from __future__ import annotations

import numpy as np
import optax
import pytest

from kauldron import kd

_TOKENS = np.arange(48, dtype=np.int32).reshape(8, 6) % 20


@pytest.fixture(scope="module")
def trainer(quick_compile):
    examples = [{"tokens": row, "targets": row[:, None]} for row in _TOKENS]
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels="batch.targets"
    )
    model = kd.nn.decoder(
        "llama",
        vocab_size=20,
        features=8,
        num_layers=3,
        num_heads=2,
        hidden_features=8,
        scan_layers=True,
        tokens="batch.tokens",
    )
    return kd.train.Trainer(
        workdir=None,
        train_ds=kd.data.py.DataSource(examples, batch_size=8, shuffle=False),
        model=model,
        num_train_steps=1,
        train_losses={"xentropy": loss},
        optimizer=optax.sgd(0.1),
    )


def test_outputs_of_layers_are_keys_and_helpers_are_none(trainer):
    keys = kd.inspect.plot_context(trainer).tree["interms"]["layers"]["layer_0"]
    assert keys["attention"]["__call__"]
    assert not [name for name in keys if name.startswith("_") and name != "__call__"]
    key = "interms.layers.layer_0.feed_forward.__call__[0]"
    found = kd.inspect.explain_key(trainer, key)
    assert dict(found.specs) == {key: "f32[3 8 6 8]"}  # of three layers


def test_a_step_is_taken_apart(trainer):
    look = kd.inspect.look_at_step(trainer)
    names = {row["Name"] for row in look.intermediates.as_dicts()}
    assert "interms.layers.layer_0.feed_forward.__call__[0]" in names
