"""Training steps of whole models, ours over the same modules in a hand-written loop.

make bench
"""

from __future__ import annotations

import dataclasses
import statistics
import time

import jax
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run

pytestmark = pytest.mark.bench

NUM_WARM_STEPS = 3
NUM_STEPS = 20
BUDGET = 1.02


def _unet():
    model = kd.nn.UNet(
        image="batch.image", num_classes=4, features=(16, 32, 64), is_residual=True
    )
    return model, (8, 64, 64, 1), (8, 64, 64, 1)


def _vit():
    model = kd.nn.VitClassifier.from_variant_str(
        "ViT-S/16", num_classes=10, image="batch.image"
    )
    return model, (8, 64, 64, 3), (8, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(kd.data.Pipeline):
    """The same batch again and again, so that the steps alone are measured."""

    is_endless = True
    arrays: dict[str, np.ndarray]

    @property
    def element_spec(self):
        return {
            key: jax.ShapeDtypeStruct(x.shape, x.dtype)
            for key, x in self.arrays.items()
        }

    def __iter__(self):
        return _Repeat(dict(self.arrays))


class _Repeat:
    def __init__(self, batch):
        self._batch = batch

    def __next__(self):
        return self._batch

    def get_state(self):
        return {}

    def close(self):
        pass


def _batch(image_shape, label_shape, num_classes=4):
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal(image_shape, np.float32),
        "label": rng.integers(num_classes, size=label_shape, dtype=np.int32),
    }


def _raw_run(model, batch):
    """The same maths and placement, in plain JAX."""
    optimizer = optax.adam(1e-3)
    with kd.nn.set_train_property(True):
        params = jax.jit(model.init)(jax.random.key(0), batch["image"])["params"]
    params, opt_state = jax.device_put(
        (params, optimizer.init(params)), kd.sharding.REPLICATED
    )

    def step(params, opt_state, batch):
        def loss_fn(params):
            with kd.nn.set_train_property(True):
                logits = model.apply({"params": params}, batch["image"])["logits"]
            return optax.softmax_cross_entropy_with_integer_labels(
                logits, batch["label"][..., 0]
            ).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    step = jax.jit(step, donate_argnums=(0, 1))

    def run():
        nonlocal params, opt_state
        start = time.perf_counter()
        for _ in range(NUM_STEPS):
            placed = jax.device_put(batch, kd.sharding.FIRST_DIM)
            params, opt_state, _ = step(params, opt_state, placed)
        jax.block_until_ready(params)
        return time.perf_counter() - start

    return run


def _our_run(model, batch, workdir):
    times = {}

    class Timed(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            jax.block_until_ready(state)
            times[step] = time.perf_counter()

    def run():
        num_steps = NUM_STEPS + NUM_WARM_STEPS
        small_run.make_trainer(
            workdir,
            train_ds=Constant(batch_size=len(batch["image"]), arrays=batch),
            eval_ds=None,
            model=model,
            optimizer=optax.adam(1e-3),
            train_losses={
                "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
                    logits="preds.logits", labels="batch.label"
                ),
            },
            train_metrics={},
            num_train_steps=num_steps,
            log_metrics_every=10**6,
            log_summaries_every=10**6,
            evals={
                # The first steps compile; the time is taken between two quiet points.
                "a": Timed(run=kd.evals.Once(NUM_WARM_STEPS)),
                "b": Timed(run=kd.evals.Final()),
            },
        ).train()
        return times[num_steps] - times[NUM_WARM_STEPS]

    return run


@pytest.mark.parametrize("make", [_unet, _vit], ids=["U-Net", "ViT-S"])
def test_training_step_of_a_model(tmp_path, make, request):
    model, *shapes = make()
    batch = _batch(*shapes)
    raw, ours = _raw_run(model, batch), _our_run(model, batch, tmp_path)
    raw()
    ratios, raws = [], []
    for _ in range(5):
        raws.append(raw())
        ratios.append(ours() / raws[-1])
    raw_ms = statistics.median(raws) / NUM_STEPS * 1e3
    print(
        f"\ntraining step, {request.node.callspec.id}: raw {raw_ms:.0f} ms, ours / raw "
        f"= {statistics.median(ratios):.3f} (budget {BUDGET}; {min(ratios):.3f}.."
        f"{max(ratios):.3f} over single pairs)"
    )
