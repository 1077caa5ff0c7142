"""Runs on rows of a table: houses, their price, and whether they are large."""

from __future__ import annotations

import csv

import numpy as np

from kauldron import konfig

with konfig.imports():
    import optax
    from flax import linen as nn

    from kauldron import kd

COLUMNS = ("rooms", "area")
_NUM = 64


def rows():
    """Rooms are whole numbers, areas are not; the last columns are labels."""
    rng = np.random.default_rng(0)
    rooms = rng.integers(1, 9, _NUM)
    area = np.round(rooms * 20 + rng.normal(size=_NUM), 2)
    price = np.round(area * 3 + rooms, 3)
    return [
        {
            "rooms": int(rooms[i]),
            "area": float(area[i]),
            "street": f"street {i}",
            "price": float(price[i]),
            "large": int(rooms[i] > 4),
        }
        for i in range(_NUM)
    ]


def write(path, found, columns=None):
    """Writes a CSV file."""
    names = list(columns or found[0])
    with open(path, "w", newline="") as f:
        table = csv.DictWriter(f, names, extrasaction="ignore")
        table.writeheader()
        table.writerows(found)


def get_config(root, *, predicts):
    """A run that predicts the `price`, or whether a house is `large`."""
    is_price = predicts == "price"
    output = "y" if is_price else "logits"
    cfg = kd.train.Trainer()
    cfg.workdir = str(root / predicts)
    cfg.train_ds = _ds(root, predicts, shuffle=True, num_epochs=None)
    cfg.eval_ds = _ds(root, predicts, shuffle=False, num_epochs=1)
    cfg.model = kd.nn.Sequential(
        inputs="batch.x", outputs=output, layers=[nn.Dense(1 if is_price else 2)]
    )
    cfg.num_train_steps = 3
    keys = {"preds": "preds.y", "targets": f"batch.{predicts}"}
    classes = {"logits": "preds.logits", "labels": f"batch.{predicts}"}
    if is_price:
        cfg.train_losses = {"l2": kd.losses.L2(**keys)}
        cfg.train_metrics = {"error": kd.metrics.Norm(tensor="preds.y")}
    else:
        cfg.train_losses = {"x": kd.losses.SoftmaxCrossEntropyWithIntLabels(**classes)}
        cfg.train_metrics = {"accuracy": kd.metrics.Accuracy(**classes)}
    cfg.optimizer = optax.adam(0.1)
    cfg.checkpointer = kd.ckpts.Checkpointer(save_interval_steps=3)
    return cfg


def _ds(root, label, **options):
    return kd.data.py.Csv(
        str(root / "houses.csv"),
        batch_size=16,
        transforms=[
            kd.data.py.SliceDataset(48),
            kd.data.Stack(keys=COLUMNS, to="x"),
            kd.data.Normalize(key="x", mean=[4.0, 80.0], std=[2.0, 40.0]),
            kd.data.Cast(key=label, dtype="float32" if label == "price" else "int32"),
            kd.data.Rearrange(key=label, pattern="... -> ... 1"),
            kd.data.Elements(keep=["x", label]),
        ],
        **options,
    )
