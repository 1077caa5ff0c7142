"""What the loop costs over the same maths written by hand, in one process.

make bench
"""

from __future__ import annotations

import io
import statistics
import sys
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run

pytestmark = pytest.mark.bench

NUM_STEPS = 3000
BATCH_SIZE = 64


class Mlp(nn.Module):
    inputs: kd.kontext.Key = "batch.x"
    widths: tuple[int, ...] = (32,)

    @nn.compact
    def __call__(self, inputs):
        x = inputs
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return {"logits": nn.Dense(10)(x)}


class Constant(kd.data.Pipeline):
    """The same batch again and again, so that the loop alone is measured."""

    is_endless = True

    @property
    def _batch(self):
        return _batch(self.batch_size)

    @property
    def element_spec(self):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self._batch
        )

    def __iter__(self):
        return _Repeat(self._batch)


class _Repeat:
    def __init__(self, batch):
        self._batch = batch

    def __next__(self):
        return self._batch

    def get_state(self):
        return {}

    def close(self):
        pass


def _batch(batch_size=BATCH_SIZE):
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(batch_size, 16)).astype(np.float32),
        "label": rng.integers(10, size=(batch_size, 1)).astype(np.int32),
    }


def _raw_loop(model):
    """The same maths, placement and logging cadence, in plain JAX."""
    optimizer = optax.adam(1e-3)
    params = model.init(jax.random.key(0), _batch()["x"])["params"]
    params, opt_state = jax.device_put(
        (params, optimizer.init(params)), kd.sharding.REPLICATED
    )
    step_nr = jax.device_put(jnp.int32(0), kd.sharding.REPLICATED)

    def step(params, opt_state, step_nr, batch):
        def loss_fn(params):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            return optax.softmax_cross_entropy_with_integer_labels(
                logits, batch["label"][:, 0]
            ).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, step_nr + 1, loss

    step = jax.jit(step, donate_argnums=(0, 1, 2))
    batches = _Repeat(_batch())

    def run(num_steps):
        nonlocal params, opt_state, step_nr
        start = time.perf_counter()
        for i in range(num_steps):
            batch = jax.device_put(next(batches), kd.sharding.FIRST_DIM)
            params, opt_state, step_nr, loss = step(params, opt_state, step_nr, batch)
            if i % 500 == 0:
                float(loss)
        jax.block_until_ready(params)
        return time.perf_counter() - start

    return run


def _our_loop(tmp_path, clock=time.perf_counter, **changes):
    times = {}

    class Timed(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            jax.block_until_ready(state)
            times[step] = clock()

    def run(num_steps):
        times.clear()
        # The first steps compile; the time is taken between two quiet points.
        kwargs = {
            "train_ds": Constant(batch_size=BATCH_SIZE),
            "eval_ds": None,
            "model": Mlp(),
            "optimizer": optax.adam(1e-3),
            "train_metrics": {},
            "num_train_steps": num_steps + 10,
            "log_metrics_every": 500,
            "log_summaries_every": 10**6,
            "evals": {
                "a": Timed(run=kd.evals.Once(10)),
                "b": Timed(run=kd.evals.Final()),
            },
        }
        small_run.make_trainer(tmp_path, **{**kwargs, **changes}).train()
        return times[num_steps + 10] - times[10]

    return run


@pytest.mark.parametrize(
    ("widths", "num_steps", "budget"),
    [((32,), NUM_STEPS, 1.25), ((384, 384, 384), 300, 1.02)],
)
def test_loop_overhead(tmp_path, widths, num_steps, budget):
    model = Mlp(widths=widths)
    raw, ours = _raw_loop(model), _our_loop(tmp_path, model=model)
    raw(200)
    ratios, raws = [], []
    for _ in range(7):
        raws.append(raw(num_steps))
        ratios.append(ours(num_steps) / raws[-1])
    raw_ms = statistics.median(raws) / num_steps * 1e3
    ratio = statistics.median(ratios)
    print(
        f"\nloop, {widths} on {jax.device_count()} device(s): raw {raw_ms:.3f} ms/step, "
        f"ours / raw = {ratio:.2f} (budget {budget}; {min(ratios):.2f}..{max(ratios):.2f})"
    )


def test_what_a_logging_step_adds(tmp_path):
    accuracy = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    metrics = {f"accuracy_{i}": accuracy for i in range(18)}  # and two losses
    runs = {
        every: _our_loop(
            tmp_path / str(every),
            # What is done beside the steps costs processor time all the same.
            clock=lambda: np.array([time.perf_counter(), time.process_time()]),
            train_metrics=metrics,
            log_metrics_every=every,
        )
        for every in (10**6, 10)
    }
    added = []
    for _ in range(5):
        quiet, logged = (run(NUM_STEPS) for run in runs.values())
        added.append((logged - quiet) / (NUM_STEPS / 10) * 1e3)
    wall, cpu = np.median(added, axis=0)
    print(
        f"\na logging step with 20 scalars adds {wall:.2f} ms (budget 1), and "
        f"{cpu:.2f} ms of processor time in all threads"
    )


def test_what_the_live_display_costs(tmp_path, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    run = _our_loop(tmp_path)
    run(200)
    ratios = []
    for _ in range(5):
        without = run(NUM_STEPS)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Screen())
            ratios.append(run(NUM_STEPS) / without)
            assert "steps/s" in sys.stderr.getvalue()
    print(
        f"\nloop with a live display / without = {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f}..{max(ratios):.3f})"
    )
