"""What measurements count is counted in one reduction, and nothing else is changed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.step import _joined_counts
from tests.train import small_run

X = np.int32([[3, 1, -2], [7, 3, 0]])
_HIGHEST, _LOWEST = np.iinfo(np.int32).max, np.iinfo(np.int32).min


def _reduce(*kinds, axes=(0, 1)):
    """Returns a function that reduces as many arrays, each by an operation."""

    def both(a, b):
        return tuple(f(x, y) for (f, _), x, y in zip(kinds, a, b, strict=True))

    def reduce(*arrays):
        starts = tuple(
            np.asarray(x, a.dtype) for (_, x), a in zip(kinds, arrays, strict=True)
        )
        return jax.lax.reduce(arrays, starts, both, axes)

    return reduce


total = _reduce((jax.lax.add, 0))
lowest = _reduce((jax.lax.min, _HIGHEST))
total_and_highest = _reduce((jax.lax.add, 0), (jax.lax.max, _LOWEST))


def _number_of_reductions(function, *args, scope="metrics"):
    """Returns it before and after; the results must be the same bits."""

    def scoped(*args):
        with jax.named_scope(scope):
            return function(*args)

    closed = jax.make_jaxpr(scoped)(*args)
    short = _joined_counts.joined(closed)
    expected, actual = (
        jax.jit(jax.extend.core.jaxpr_as_fun(x))(*args) for x in (closed, short)
    )
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return tuple(
        sum(x.primitive is jax.lax.reduce_p for x in jaxpr.eqns)
        for jaxpr in (closed, short)
    )


def test_sums_and_extremes_of_metrics_are_found_together():
    def measure(x):
        hits = (x > 1).astype(jnp.int32)
        return *total(x), *lowest(x * 2), *total_and_highest(hits, x)

    assert _number_of_reductions(measure, X) == (3, 1)
    # 3 + 1 - 2 + 7 + 3 + 0; twice -2; 3, 7 and 3 are more than 1.
    assert [int(x) for x in jax.jit(measure)(X)] == [12, -4, 3, 7]


def test_what_is_reduced_twice_is_reduced_once():
    def measure(x):
        with jax.named_scope("metrics"):
            return *total(x), *total_and_highest(x, x)

    short = _joined_counts.joined(jax.make_jaxpr(measure)(X))
    (reduction,) = (x for x in short.eqns if x.primitive is jax.lax.reduce_p)
    assert len(reduction.outvars) == 2  # sum and highest
    assert _number_of_reductions(measure, X) == (2, 1)


def test_result_that_is_not_used_is_not_computed():
    def measure(x):
        with jax.named_scope("metrics"):
            return total_and_highest(x, x)[1], *lowest(x)

    short = _joined_counts.joined(jax.make_jaxpr(measure)(X))
    (reduction,) = (x for x in short.eqns if x.primitive is jax.lax.reduce_p)
    assert len(reduction.outvars) == 2
    assert _number_of_reductions(measure, X) == (2, 1)


def test_what_needs_the_result_of_another_comes_after_it():
    def measure(x):
        (sum_of_all,), (low,) = total(x), lowest(x)
        (late,) = total(x * sum_of_all)
        return sum_of_all, low, late, *lowest(x + low), *total(x + 1)

    assert _number_of_reductions(measure, X) == (5, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [*total(x), *_reduce((jax.lax.add, 0), axes=(0,))(x)],
        lambda x: [*total(x), *total(x[:1])],
        # Sums of floats depend on their order.
        lambda x: [*total(x * 0.1), *total(x * 0.3)],
        lambda x: [*total(x), *_reduce((lambda a, b: a + 2 * b, 0))(x + 1)],
    ],
)
def test_what_cannot_be_joined_stays(function):
    assert _number_of_reductions(function, X) == (2, 2)


def test_what_is_no_measurement_stays():
    def model(x):
        return *total(x), *total(x + 1)

    assert _number_of_reductions(model, X, scope="model") == (2, 2)


def test_many_are_joined_in_parts():
    def measure(x):
        return [total(x + i)[0] for i in range(80)]

    assert _number_of_reductions(measure, X) == (80, 3)


def test_what_has_effects_keeps_its_order():
    told = []

    def measure(x):
        with jax.named_scope("metrics"):
            (first,) = total(x)
            jax.debug.callback(lambda _: told.append("between"), first, ordered=True)
            return first, *total(x + 1)

    closed = jax.make_jaxpr(measure)(X)
    assert _joined_counts.joined(closed) is closed


def test_labels_and_hits_of_all_metrics_are_counted_in_one_reduction(tmp_path):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.Final(),
        metrics={
            f"top{k}": kd.metrics.TopKAccuracy(
                k=k, logits="preds.logits", labels="batch.label"
            )
            for k in (1, 2, 3)
        },
    )
    trainer = small_run.make_trainer(tmp_path, evals={"eval": evaluator})
    evaluator = trainer.evals["eval"]
    lowered = evaluator._jitted_step.lower(
        np.int32(0), trainer.init_state(), next(iter(evaluator.ds_iter))
    )
    reductions = [
        line
        for line in lowered.as_text().splitlines()
        if "stablehlo.reduce(" in line and "tensor<16x1xi32>" in line
    ]
    assert len(reductions) == 1
    # Hits of three metrics, their number; of wrong labels number, lowest, highest.
    assert ":7 = stablehlo.reduce" in reductions[0]
