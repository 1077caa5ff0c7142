"""A run on digits that is over at once; its model drops much."""

from __future__ import annotations

import numpy as np

from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from kauldron import kd
    from tests.apps.verbs import digit_run


class Strokes:
    """Images `u8[8 8 1]` of ten kinds of strokes, the same each time."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return {"image": images()[index], "label": np.int64(labels()[index])}


def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=(64, 8, 8, 1), dtype=np.uint8)


def labels():
    return np.random.default_rng(1).integers(0, 4, size=64)


def get_config(workdir):
    cfg = kd.train.Trainer()
    cfg.workdir = str(workdir)
    cfg.train_ds = _ds(shuffle=True, num_epochs=None)
    cfg.eval_ds = _ds(shuffle=False, num_epochs=1)
    cfg.model = kd.nn.Sequential(
        inputs="batch.image",
        outputs="logits",
        layers=[
            kd.nn.Rearrange("b h w c -> b (h w c)"),
            kd.nn.Dropout(0.5),
            nn.Dense(4),
        ],
    )
    cfg.num_train_steps = 2
    cfg.train_losses = {
        "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
            logits="preds.logits", labels="batch.label"
        )
    }
    cfg.train_metrics = {
        "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    }
    cfg.optimizer = optax.adam(0.1)
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=1)
    return cfg


def _ds(**kwargs):
    return kd.data.py.DataSource(
        digit_run.Strokes(),
        batch_size=8,
        transforms=[
            kd.data.Elements(keep=["image", "label"]),
            kd.data.ValueRange(key="image", in_vrange=(0, 255), vrange=(0, 1)),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
        **kwargs,
    )
