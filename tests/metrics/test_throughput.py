"""Amounts per step, and what becomes of them where the time is known."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import metrics
from kauldron.step import auxiliaries
from tests.metrics import contract

CASES = [
    contract.Case(
        metrics.Throughput(values="x", num_axes=2),
        lambda rng, n: {"values": np.zeros((n, 3, 4))},
        lambda m, values: 3.0 * (len(values) if m is None else m.sum()),
        is_mean_of_examples=False,
    ),
]


@contract.laws(CASES, without="test_merged_batches_equal_one_batch")
class TestContract:
    pass


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_padding_does_not_count(shape):
    mask = np.array([1, 1, 0, 1, 0, 0]).reshape(shape)
    metric = metrics.Throughput(values="x", mask="m", num_axes=2)
    assert metric(values=np.zeros((2, 3), int), mask=mask) == 3
    assert metrics.Throughput(values="x")(values=np.zeros((2, 3), int)) == 2


def test_batches_give_their_mean():
    metric = metrics.Throughput(values="x")
    states = [metric.get_state(values=np.zeros((n, 2))) for n in (8, 8, 5)]
    assert states[0].merge(states[1]).merge(states[2]).compute() == 7


def test_axes_that_are_not_there_are_refused():
    with pytest.raises(
        ValueError, match=r"counts 3 axes, but key 'x' has shape \(2, 4"
    ):
        metrics.Throughput(values="x", num_axes=3).get_state(values=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="at least 1: got 0"):
        metrics.Throughput(num_axes=0)


def test_amounts_become_rates_and_are_no_metrics():
    state = metrics.Throughput(values="x").get_state(values=np.zeros((6, 2)))
    other = metrics.Std(values="x").get_state(values=np.ones((6, 2)))
    aux = auxiliaries.AuxiliariesState(
        metric_states={"images": state, "tokens": {"a": state}, "std": other}
    )
    for flatten in (True, False):
        values = aux.compute(flatten=flatten)
        names = auxiliaries.flatten_names("", values.metric_values)
        assert [name.rsplit("/")[-1] for name in names] == ["std"]
        assert values.amounts_per_step == {"images": 6, "tokens/a": 6}
        assert values.throughputs({}) == {}
        assert values.throughputs({"perf_stats/steps_per_sec": 2.5}) == {
            "perf_stats/images_per_sec": 15,
            "perf_stats/tokens/a_per_sec": 15,
        }


def test_amount_passes_through_jit():
    metric = metrics.Throughput(values="x")
    state = jax.jit(lambda x: metric.get_state(values=x))(np.zeros((4, 2)))
    assert isinstance(state.compute(), metrics.PerStep)
