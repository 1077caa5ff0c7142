"""What an evaluation costs over a jitted loop that keeps its sums on the device.

make bench
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.benchmarks import clocks
from tests.train import small_run

pytestmark = pytest.mark.bench

BATCH_SIZE = 256
NUM_CLASSES = 10


class Mlp(nn.Module):
    width: int
    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        x = nn.relu(nn.Dense(self.width)(inputs))
        return {"logits": nn.Dense(NUM_CLASSES)(nn.relu(nn.Dense(self.width)(x)))}


class Repeat(kd.data.IterableDataset):
    """The same batch many times, so that loading costs nothing."""

    def __init__(self, num_batches):
        rng = np.random.default_rng(0)
        self.batch = {
            "x": rng.normal(size=(BATCH_SIZE, 64)).astype(np.float32),
            "label": rng.integers(NUM_CLASSES, size=(BATCH_SIZE, 1)).astype(np.int32),
        }
        self.num_batches = num_batches

    @property
    def element_spec(self):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.batch
        )

    def __iter__(self):
        return _Repeated(self.batch, self.num_batches)


class _Repeated:
    def __init__(self, batch, num_batches):
        self._batch, self._left = batch, num_batches

    def __iter__(self):
        return self

    def __next__(self):
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._batch

    def close(self):
        pass


def make_raw(model, params, ds):
    """Accuracy, top-5 accuracy and loss of the dataset, in plain JAX."""

    @jax.jit
    def step(params, sums, batch):
        logits = model.apply({"params": params}, batch["x"])["logits"]
        labels = batch["label"][:, 0]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        hits = jnp.argmax(logits, -1) == labels
        _, top = jax.lax.top_k(logits, 5)
        in_top = (top == labels[:, None]).any(-1)
        new = jnp.stack([loss.sum(), hits.sum(), in_top.sum(), labels.size])
        return sums + new

    def run():
        sums = jax.device_put(jnp.zeros(4), kd.sharding.REPLICATED)
        for batch in ds:
            batch = jax.device_put(batch, kd.sharding.FIRST_DIM)
            sums = step(params, sums, batch)
        jax.block_until_ready(sums)

    return run


def make_ours(model, ds, tmp_path, **changes):
    evaluator = kd.evals.Evaluator(run=kd.evals.Final(), ds=ds, **changes)
    keys = {"logits": "preds.logits", "labels": "batch.label"}
    trainer = small_run.make_trainer(
        tmp_path,
        train_ds=ds,
        model=model,
        writer=None,
        train_metrics={
            "accuracy": kd.metrics.Accuracy(**keys),
            "top5": kd.metrics.TopKAccuracy(k=5, **keys),
        },
        evals={"eval": evaluator},
    )
    state = trainer.init_state()

    def run():
        trainer.evals["eval"].evaluate(state, step=0)

    return run, state.params


@pytest.mark.parametrize(
    ("name", "width", "num_batches"),
    [("step of several ms", 1024, 150), ("tiny step", 16, 1000)],
)
@pytest.mark.parametrize("writes_outputs", [False, True])
def test_evaluation_overhead(
    tmp_path, figures, name, width, num_batches, writes_outputs
):
    model, ds = Mlp(width=width), Repeat(num_batches)
    outputs = kd.evals.WriteOutputs(keys=["preds.logits", "batch.label"])
    ours, params = make_ours(
        model, ds, tmp_path, outputs=outputs if writes_outputs else None
    )
    runs = {"ours": ours, "raw": make_raw(model, params, ds)}
    secs = clocks.in_turn({k: clocks.timed(run) for k, run in runs.items()})
    raw_ms = clocks.medians(secs["raw"]).wall / num_batches * 1e3
    what = f"evaluation, {name}{', outputs written' if writes_outputs else ''}"
    against = "a jitted loop that keeps its sums on the device"
    figures.ratio(
        what, secs["ours"], secs["raw"], against=f"{against} ({raw_ms:.2g} ms a batch)"
    )
    pairs = zip(secs["ours"], secs["raw"], strict=True)
    figures.number(
        f"{what}: more than {against}, a batch",
        [(a.wall - b.wall) / num_batches * 1e3 for a, b in pairs],
        "ms",
        budget=0.1,
    )
