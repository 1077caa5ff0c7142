"""Tracing and compilation of many metrics and evaluators, against the same by hand.

make bench
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

from kauldron import kd
from tests.benchmarks import clocks, loops, small_models

pytestmark = pytest.mark.bench

_ROUNDS = 7
_BATCH = small_models.points()


def _metrics(number):
    """Metrics of which no two are the same."""
    return {
        f"top_{i}": kd.metrics.TopKAccuracy(
            k=1 + i % 9, logits="preds.logits", labels="batch.label"
        )
        for i in range(number)
    }


def _by_hand(number, logits, labels):
    """Sums and counts of the same; JAX and XLA meet the same repetitions."""
    found = {}
    for i in range(number):
        _, top = jax.lax.top_k(logits, 1 + i % 9)
        hits = (top == labels).any(-1)
        found[f"top_{i}"] = (hits.sum(dtype=jnp.float32), jnp.float32(hits.size))
    return found


def _step_of_ours(number, width):
    trainer = loops.make_trainer(
        "unused",
        _BATCH,
        model=small_models.Mlp(widths=(width,)),
        train_metrics=_metrics(number),
    )
    arguments = (trainer.state_specs, _BATCH)
    options = dict.fromkeys(("return_losses", "return_metrics"), True)

    def compile_step():
        trainer.trainstep._jitted_step.lower(
            *arguments,
            **options,
            return_summaries=False,
            checkify_error_categories=frozenset(),
        ).compile()

    return compile_step


def _step_by_hand(number, width):
    model, optimizer = small_models.Mlp(widths=(width,)), optax.adam(1e-3)
    params = jax.eval_shape(model.init, jax.random.key(0), _BATCH["x"])["params"]
    opt_state = jax.eval_shape(optimizer.init, params)

    def step(params, opt_state, batch):
        def loss_fn(params):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            return loops.cross_entropy(logits, batch), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state, loss, _by_hand(number, logits, batch["label"])

    def compile_step():
        jax.jit(step, donate_argnums=(0, 1)).lower(params, opt_state, _BATCH).compile()

    return compile_step


@pytest.mark.parametrize("number", [10, 100])
def test_metrics_are_traced_and_compiled_as_fast_as_by_hand(figures, number):
    widths = iter(range(16, 1000))  # JAX keeps what it has compiled

    def run(make):
        return clocks.timed(make(number, next(widths)))()

    secs = clocks.in_turn(
        {"ours": lambda: run(_step_of_ours), "by hand": lambda: run(_step_by_hand)},
        _ROUNDS,
    )
    hand_ms = clocks.medians(secs["by hand"]).processor * 1e3
    figures.ratio(
        f"tracing and compiling a step with {number} metrics",
        secs["ours"],
        secs["by hand"],
        against=f"the same by hand ({hand_ms:.0f} ms of processor time)",
        budget=1.1,
    )


def _evaluators(number, width):
    """Makes `number` evaluators of a model; returns their first evaluation."""
    ds = kd.data.py.DataSource(dict(_BATCH), batch_size=64, shuffle=False, num_epochs=1)
    trainer = loops.make_trainer(
        "unused",
        _BATCH,
        model=small_models.Mlp(widths=(width,)),
        writer=None,
        evals={
            f"eval_{i}": kd.evals.Evaluator(
                run=kd.evals.Final(), ds=ds, metrics=_metrics(1 + i)
            )
            for i in range(number)
        },
    )
    state = trainer.init_state()

    def evaluate():
        for evaluator in trainer.evals.values():
            evaluator.evaluate(state, step=0)

    return evaluate


def _evaluations_by_hand(number, width):
    model = small_models.Mlp(widths=(width,))
    params = jax.jit(model.init)(jax.random.key(0), _BATCH["x"])["params"]

    def make(i):
        def evaluate(params, batch):
            logits = model.apply({"params": params}, batch["x"])["logits"]
            loss = loops.cross_entropy(logits, batch)
            return loss, _by_hand(1 + i, logits, batch["label"])

        return jax.jit(evaluate)

    def evaluate():
        for i in range(number):
            jax.device_get(make(i)(params, _BATCH))

    return evaluate


@pytest.mark.parametrize("number", [1, 10])
def test_evaluators_are_compiled_as_fast_as_by_hand(figures, number):
    widths = iter(range(16, 1000))

    def run(make):
        return clocks.timed(make(number, next(widths)))()

    secs = clocks.in_turn(
        {
            "ours": lambda: run(_evaluators),
            "by hand": lambda: run(_evaluations_by_hand),
        },
        _ROUNDS,
    )
    hand_ms = clocks.medians(secs["by hand"]).processor * 1e3
    figures.ratio(
        f"first evaluation by {number} evaluators, of 1 to {number} metrics",
        secs["ours"],
        secs["by hand"],
        against=f"the same by hand ({hand_ms:.0f} ms of processor time)",
        budget=1.1,
    )
