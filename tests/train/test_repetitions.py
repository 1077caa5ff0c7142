"""What measurements compute several times is left out of a program, and nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.step import _repetitions
from tests.train import small_run

X = np.float32([[1, -2, 3], [0, 5, -6]])


def _shortened(function, *args):
    """Returns numbers of equations before and after, and both results."""
    closed = jax.make_jaxpr(function)(*args)
    short = _repetitions.without_repetitions(closed)
    run = jax.extend.core.jaxpr_as_fun
    return (
        (len(closed.eqns), len(short.eqns)),
        run(closed)(*args),
        run(short)(*args),
    )


def _in(scope, function):
    def scoped(x):
        with jax.named_scope(scope):
            return function(x)

    return scoped


def test_what_metrics_compute_twice_is_computed_once():
    def measure(x):
        return [jnp.sum(jnp.where(x > 0, jnp.sin(x), 0)) for _ in range(5)]

    (before, after), expected, actual = _shortened(_in("metrics", measure), X)
    assert (before, after) == (5 * (before // 5), before // 5)
    assert actual == expected


def test_what_is_no_measurement_stays():
    (before, after), *_ = _shortened(
        _in("model", lambda x: [jnp.sin(x), jnp.sin(x)]), X
    )
    assert (before, after) == (2, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x.sum(axis=0), x.sum(axis=1)],
        lambda x: [x * 0.0, x * -0.0],  # equal numbers, other bits
        lambda x: [x + 1, x + 2],
        lambda x: [x.astype(jnp.int32), x.astype(jnp.int8)],
        lambda x: [jax.lax.top_k(x, 1)[0], jax.lax.top_k(x, 2)[0]],
    ],
)
def test_what_differs_in_anything_stays(function):
    (before, after), expected, actual = _shortened(_in("metrics", function), X)
    assert before == after
    for a, b in zip(actual, expected, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_output_that_was_dropped_the_first_time_is_there_the_second_time():
    def measure(x):
        return [jax.lax.top_k(x, 2)[0], *jax.lax.top_k(x, 2)]

    _, expected, actual = _shortened(_in("metrics", measure), X)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_has_effects_is_done_as_often_as_it_is_written():
    told = []

    def measure(x):
        for _ in range(3):
            jax.debug.callback(told.append, 1.0)
        return x

    closed = jax.make_jaxpr(_in("metrics", measure))(X)
    jax.extend.core.jaxpr_as_fun(_repetitions.without_repetitions(closed))(X)
    jax.effects_barrier()
    assert len(told) == 3


def test_metrics_of_one_step_cost_one_computation(tmp_path):
    def size(number):
        metrics = {
            f"{i}": kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
            for i in range(number)
        }
        trainer = small_run.make_trainer(tmp_path, train_metrics=metrics)
        batch = next(iter(trainer.train_ds.device_put(trainer.sharding.batch)))
        lowered = trainer.trainstep._jitted_step.lower(
            trainer.init_state(),
            batch,
            return_losses=True,
            return_metrics=True,
            return_summaries=False,
            checkify_error_categories=frozenset(),
        )
        return lowered.as_text().count(" = ")

    # What is packed of each (total and count), and no more.
    assert size(20) - size(1) < 19 * 5
