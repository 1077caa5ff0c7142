"""A run small enough to repeat: two-class points, a two-layer network with dropout."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from kauldron import kd

NUM_EXAMPLES = 40


class Points:
    """`{"x": f32[3], "label": i32[1]}`, labelled by the sign of the first coordinate."""

    def __init__(self, num_examples: int = NUM_EXAMPLES, seed: int = 0) -> None:
        self.x = (
            np.random.default_rng(seed).normal(size=(num_examples, 3)).astype("float32")
        )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        x = self.x[index]
        return {"x": x, "label": np.array([x[0] > 0], np.int32)}


def make_ds(*, training: bool = True, **changes: Any) -> Any:
    kwargs: dict[str, Any] = {
        "data_source": Points(),
        "shuffle": training,
        "batch_size": 16,
        "num_epochs": None if training else 1,
    }
    return kd.data.py.DataSource(**{**kwargs, **changes})


def make_trainer(workdir: Any, **changes: Any) -> Any:
    kwargs: dict[str, Any] = {
        "workdir": workdir,
        "seed": 3,
        "train_ds": make_ds(),
        "eval_ds": make_ds(training=False),
        "model": kd.nn.Sequential(
            inputs="batch.x",
            outputs="logits",
            layers=[nn.Dense(8), nn.relu, kd.nn.Dropout(0.2), nn.Dense(2)],
        ),
        "num_train_steps": 10,
        "train_losses": {
            "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
                logits="preds.logits", labels="batch.label"
            )
        },
        "train_metrics": {
            "accuracy": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
        },
        "optimizer": optax.adam(1e-2),
        "log_metrics_every": 2,
        "log_summaries_every": 2,
    }
    return kd.train.Trainer(**{**kwargs, **changes})


def compile_step(trainer: Any, *, measures: bool = True) -> Any:
    """The compiled step, with losses and metrics if it `measures`; nothing is run."""
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=trainer.sharding.batch
        ),
        trainer.train_ds.element_spec,
    )
    lowered = trainer.trainstep._jitted_step.lower(
        trainer.state_specs,
        batch,
        return_losses=measures,
        return_metrics=measures,
        return_summaries=False,
        checkify_error_categories=frozenset(),
    )
    return lowered.compile()


def state_hash(state: Any) -> str:
    """A hash of every bit of a state, and of its structure."""
    leaves, structure = jax.tree.flatten(state)
    digest = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def records(workdir: Any, collection: str) -> list[dict[str, Any]]:
    """The lines of a collection in `metrics.jsonl`."""
    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line) for line in lines]
    return [r for r in parsed if r["collection"] == collection]
