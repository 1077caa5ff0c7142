"""The algebra of states: merge, empty, finalize, compute."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kauldron import kontext, metrics

_floats = st.floats(-100, 100, width=32)
_values = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3), elements=_floats)


@settings(max_examples=20)  # each shape compiles
@given(_values, _values)
def test_merged_average_is_the_average_of_all_values(a, b):
    merged = metrics.AverageState.from_values(a).merge(
        metrics.AverageState.from_values(b)
    )
    together = np.concatenate([a.ravel(), b.ravel()]).astype(np.float64)
    # f32 sums of up to 250 values of size 100
    np.testing.assert_allclose(merged.compute(), together.mean(), rtol=1e-4, atol=1e-3)


@settings(max_examples=20)
@given(_values)
def test_empty_is_the_identity_of_merge(a):
    state = metrics.AverageState.from_values(a)
    for merged in (state.merge(state.empty()), state.empty().merge(state)):
        assert merged.total == state.total
        assert merged.count == state.count


def test_average_of_nothing_is_undefined_and_trains_nothing():
    assert np.isnan(metrics.AverageState.empty().compute())
    masked = metrics.AverageState.from_values(np.ones(3), mask=np.zeros(3))
    assert np.isnan(masked.compute())
    assert masked.mean() == 0


def test_averages_are_undefined_element_by_element():
    state = metrics.AverageState(total=np.array([3, 0]), count=np.array([2, 0]))
    np.testing.assert_array_equal(state.compute(), [1.5, np.nan])


def test_mask_selects_values_and_ignores_masked_nan():
    values = np.array([[1.0, 2.0], [np.nan, np.nan], [5.0, 7.0]], np.float32)
    state = metrics.AverageState.from_values(values, mask=np.array([1, 0, 1]))
    assert state.compute() == (1 + 2 + 5 + 7) / 4


def test_mask_may_have_the_last_axis_of_labels():
    state = metrics.AverageState.from_values(
        np.array([1.0, 2.0, 6.0]), mask=np.array([[1], [0], [1]])
    )
    assert state.compute() == 3.5


def test_fractional_mask_weighs_values():
    state = metrics.AverageState.from_values(
        np.array([1.0, 3.0]), mask=np.array([0.5, 1.0])
    )
    np.testing.assert_allclose(state.compute(), (0.5 * 1 + 3) / 1.5, rtol=1e-6)


def test_mask_of_wrong_length_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"mask \(3,\), values \(2, 4\)"):
        metrics.AverageState.from_values(np.zeros((2, 4)), mask=np.ones(3))


def test_half_precision_values_are_summed_in_single_precision():
    # bf16 cannot count past 256.
    values = jax.numpy.ones((1000,), jax.numpy.bfloat16)
    state = metrics.AverageState.from_values(values)
    assert state.total.dtype == np.float32
    assert state.compute() == 1


def _accuracy(key: str) -> metrics.Accuracy:
    return metrics.Accuracy(logits=key, labels="batch.label")


def test_states_of_different_metrics_do_not_merge():
    logits, labels = np.eye(3, dtype=np.float32), np.array([[0], [1], [0]])
    a = _accuracy("preds.a").get_state(logits=logits, labels=labels)
    b = _accuracy("preds.b").get_state(logits=logits, labels=labels)
    with pytest.raises(ValueError, match="different metrics"):
        a.merge(b)


def test_state_keeps_its_metric_when_merged_with_an_empty_one():
    metric = _accuracy("preds.a")
    state = metric.get_state(logits=np.eye(3), labels=np.array([[0], [1], [0]]))
    assert state.parent == metric
    assert metric.empty().parent == metric
    assert state.empty().merge(state).parent == metric


def test_state_can_cross_jit():
    metric = _accuracy("preds.a")
    labels = np.array([[0], [1], [0]])
    state = jax.jit(lambda x: metric.get_state(logits=x, labels=labels))(np.eye(3))
    assert state.parent == metric
    np.testing.assert_allclose(state.compute(), 2 / 3, rtol=1e-6)


def test_metric_that_defines_compute_is_refused():
    with pytest.raises(ValueError, match="nested `State`"):

        class Wrong(metrics.Metric):
            def compute(self) -> Any:
                return 0


def test_state_without_struct_decorator_is_refused():
    with pytest.raises(TypeError, match=r"flax\.struct\.dataclass"):

        class Wrong(metrics.Metric):
            class State(metrics.AverageState):
                pass


def test_state_that_is_no_state_is_refused():
    with pytest.raises(TypeError, match=r"State` must derive from `kd.metrics.State`"):

        class Wrong(metrics.Metric):
            @flax.struct.dataclass
            class State:
                total: Any = 0


def test_metric_reads_its_keys_from_the_context():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mean(metrics.Metric):
        values: kontext.Key = kontext.REQUIRED

        @flax.struct.dataclass
        class State(metrics.AverageState):
            pass

        def get_state(self, values):
            return self.State.from_values(values)

    context = {"batch": {"x": np.array([1.0, 2.0, 6.0])}}
    assert Mean(values="batch.x")(context=context) == 3


def test_misspelt_key_of_a_metric_suggests_the_nearest_key():
    metric = metrics.Norm(tensor="batch.imgae")
    with pytest.raises(KeyError, match=r"batch\.image"):
        metric(context={"batch": {"image": np.zeros((2, 3)), "label": np.zeros(2)}})


def test_metric_with_dicts_and_lists_is_hashable():
    # jit hashes the metric of a state that is passed in.
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class WithOptions(metrics.NoopMetric):
        options: Any = None

        def __post_init__(self):
            pass

    metric = WithOptions(options={"a": [1, {"b": 2}]})
    assert jax.jit(lambda s: s)(metric.get_state()).parent == metric
    assert metric.options["a"][1]["b"] == 2


def test_what_is_true_under_a_mask_of_bools_is_counted_beyond_2_to_the_24():
    is_counted = np.ones(2**24 + 3, bool)
    is_counted[0] = False
    is_right = np.ones_like(is_counted)
    is_right[-1] = False
    state = metrics.AverageState.from_values(is_right, mask=is_counted)
    assert (int(state.total), int(state.count)) == (2**24 + 1, 2**24 + 2)
