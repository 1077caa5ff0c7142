"""`TreeMap`, `TreeReduce`, `SkipIfMissing`, and collecting states."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import numpy as np
import pytest

from kauldron import kontext, metrics
from kauldron.train import context as context_lib

_rng = np.random.default_rng(0)
_params = {
    "a": {"kernel": _rng.normal(size=(3, 2)), "bias": _rng.normal(size=2)},
    "b": {"kernel": _rng.normal(size=(2, 4)), "bias": _rng.normal(size=4)},
}
_context = {"params": _params}


def _norm(tensor: str, aggregation_type: str = "concat") -> metrics.Norm:
    return metrics.Norm(tensor=tensor, axis=None, aggregation_type=aggregation_type)


def test_tree_map_gives_a_tree_of_values():
    value = metrics.TreeMap(metric=_norm("params"))(context=_context)
    expected = jax.tree.map(np.linalg.norm, _params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), value, expected
    )


@pytest.mark.parametrize("key", ["params.**.bias", "params.*.bias", "**.bias"])
def test_tree_map_with_a_glob_measures_what_matches(key):
    value = metrics.TreeMap(metric=_norm(key))(context=_context)
    if key.startswith("**"):
        value = value["params"]
    assert {k: list(v) for k, v in value.items()} == {"a": ["bias"], "b": ["bias"]}
    np.testing.assert_allclose(
        value["b"]["bias"], np.linalg.norm(_params["b"]["bias"]), rtol=1e-5
    )


def test_tree_map_merges_leaf_by_leaf():
    metric = metrics.TreeMap(metric=_norm("params"))
    state = metric.get_state_from_context(_context)
    merged = metric.empty().merge(state).merge(state).merge(metric.empty())
    expected = np.sqrt(2) * np.linalg.norm(_params["a"]["bias"])
    np.testing.assert_allclose(merged.compute()["a"]["bias"], expected, rtol=1e-5)
    assert merged.parent == metric
    assert metric.empty().compute() == {}


def test_tree_map_gives_a_lone_array_to_every_leaf():
    metric = metrics.TreeMap(
        metric=metrics.Norm(tensor="t", mask="m", aggregation_type="average")
    )
    x = _rng.normal(size=(2, 3)).astype(np.float32)
    value = metric(context={"t": {"x": x, "y": 2 * x}, "m": np.array([0, 1])})
    np.testing.assert_allclose(value["y"], 2 * np.linalg.norm(x[1]), rtol=1e-5)


def test_tree_map_refuses_trees_of_different_structure():
    metric = metrics.TreeMap(metric=metrics.Accuracy(pred_labels="p", labels="t"))
    one = np.zeros((1, 1), int)
    with pytest.raises(ValueError, match="different structures"):
        metric(pred_labels={"a": one, "b": one}, labels={"a": one})


@pytest.mark.parametrize("wrapper", [metrics.TreeMap, metrics.TreeReduce])
@pytest.mark.parametrize("key", ["prams", "params.**.scale"])
def test_key_without_match_is_a_key_error(wrapper, key):
    with pytest.raises(KeyError, match="params"):
        wrapper(metric=_norm(key))(context=_context)


def test_required_key_of_a_mapped_metric_must_be_set():
    with pytest.raises(kontext.RequiredKeyError, match="must be set"):
        metrics.TreeMap(metric=metrics.Norm())(context=_context)


def test_tree_reduce_is_the_metric_of_all_leaves():
    metric = metrics.TreeReduce(metric=_norm("params"))
    state = metric.get_state_from_context(_context)
    flat = np.concatenate([x.ravel() for x in jax.tree.leaves(_params)])
    np.testing.assert_allclose(state.compute(), np.linalg.norm(flat), rtol=1e-5)
    assert state.parent == metric.metric
    assert metric.empty().parent == metric.metric
    assert metric.empty().merge(state).compute() == state.compute()


def test_tree_reduce_averages_norms_of_leaves():
    value = metrics.TreeReduce(metric=_norm("params", "average"))(context=_context)
    expected = np.mean([np.linalg.norm(x) for x in jax.tree.leaves(_params)])
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_wrapped_metrics_work_inside_jit():
    metric = metrics.SkipIfMissing(metrics.TreeMap(metric=_norm("params.**.bias")))
    state = jax.jit(metric.get_state_from_context)(_context)
    expected = np.linalg.norm(_params["a"]["bias"])
    np.testing.assert_allclose(state.compute()["a"]["bias"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "key", ["grads", "grads.a.kernel", "batch.label", "grads.**.b"]
)
def test_missing_key_is_skipped(key):
    inner = metrics.TreeMap(metric=_norm(key)) if "*" in key else _norm(key)
    metric = metrics.SkipIfMissing(inner)
    context = context_lib.Context(step=0, batch={"image": np.ones(3)})
    state = jax.jit(metric.get_state_from_context)(context)
    assert state.compute() == {}
    assert state.merge(metric.empty()).finalize().compute() == {}
    assert metric(context=context) == {}


def test_skipped_and_measured_states_merge():
    metric = metrics.SkipIfMissing(_norm("x"))
    there = metric.get_state_from_context({"x": np.array([3.0, 4.0])})
    absent = metric.get_state_from_context({"y": 0})
    for state in (
        there.merge(absent),
        absent.merge(there),
        metric.empty().merge(there),
    ):
        np.testing.assert_allclose(state.finalize().compute(), 5, rtol=1e-6)
        assert state.parent == metric


@flax.struct.dataclass
class _Chunks(metrics.State):
    """A state of a user that has to be put together before it is computed."""

    chunks: tuple[Any, ...] = ()
    whole: Any = None

    def merge(self, other):
        return self.replace(chunks=(*self.chunks, *other.chunks))

    def finalize(self):
        return self.replace(whole=np.concatenate(self.chunks))

    def compute(self):
        return self.whole.sum()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chunked(metrics.Metric):
    x: kontext.Key = "x"

    State = _Chunks

    def get_state(self, x, mask=None):
        return self.State(chunks=(np.where(True if mask is None else mask, x, 0),))


@pytest.mark.parametrize(
    ("wrapper", "context", "expected"),
    [
        (metrics.SkipIfMissing(_Chunked()), {"x": np.arange(4)}, 12),
        (metrics.TreeMap(metric=_Chunked()), {"x": {"a": np.arange(4)}}, {"a": 12}),
        (metrics.TreeReduce(metric=_Chunked()), {"x": {"a": np.arange(4)}}, 12),
        (
            metrics.SliceBy(metric=_Chunked(), by="by", slices=2),
            {"x": np.arange(4), "by": np.array([0, 1, 0, 1])},
            {"0": 4, "1": 8},
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_wrapped_states_are_put_together_before_they_are_computed(
    wrapper, context, expected
):
    state = wrapper.get_state_from_context(context)
    assert state.merge(state).finalize().compute() == expected


def test_key_error_inside_the_metric_is_not_swallowed():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Broken(metrics.Metric):
        x: kontext.Key = kontext.REQUIRED

        def get_state(self, x):
            return {}["oops"]

    with pytest.raises(KeyError, match="oops"):
        metrics.SkipIfMissing(Broken(x="x")).get_state_from_context({"x": 1})
    with pytest.raises(kontext.RequiredKeyError):
        metrics.SkipIfMissing(Broken()).get_state_from_context({"x": 1})


def test_collecting_state_lays_fields_end_to_end():
    @flax.struct.dataclass
    class State(metrics.CollectingState):
        x: Any
        y: Any

    a, b = (
        State(x=np.ones(2), y=np.zeros((2, 3))),
        State(x=np.ones(1), y=np.ones((1, 3))),
    )
    merged = State.empty().merge(a).merge(b).merge(State.empty()).compute()
    assert merged.x.shape == (3,)
    np.testing.assert_array_equal(merged.y, np.concatenate([np.zeros((2, 3)), b.y]))
    assert State.empty().compute().x is None


@pytest.mark.parametrize("keep_first", [1, 3, None])
def test_collect_first_state_keeps_the_first(keep_first):
    @flax.struct.dataclass
    class State(metrics.CollectFirstState):
        x: Any

    parts = [State(x=np.arange(2) + 2 * i, keep_first=keep_first) for i in range(3)]
    merged = State.empty().merge(parts[0]).merge(parts[1]).merge(parts[2])
    np.testing.assert_array_equal(merged.compute().x, np.arange(6)[:keep_first])
    np.testing.assert_array_equal(parts[0].compute().x, np.arange(2)[:keep_first])
    with pytest.raises(ValueError, match="keep"):
        parts[0].merge(State(x=np.arange(2), keep_first=7))
