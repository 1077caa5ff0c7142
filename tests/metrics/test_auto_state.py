"""`AutoState`: every field kind, empty, None, jit, and what does not saturate."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import metrics
from kauldron.metrics import auto_state


@flax.struct.dataclass
class Inner(metrics.AutoState):
    total: Any = metrics.sum_field()

    def compute(self):
        return float(super().compute().total)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything(metrics.Metric):
    num_kept: int | None = 3

    @flax.struct.dataclass
    class State(metrics.AutoState["Everything"]):
        total: Any = metrics.sum_field()
        low: Any = metrics.min_field()
        high: Any = metrics.max_field()
        rows: Any = metrics.concat_field()
        columns: Any = metrics.concat_field(axis=1)
        first: Any = metrics.truncate_field(num_field="parent.num_kept")
        inner: Any = metrics.state_field()
        unit: str = metrics.static_field("mm")
        scale: int = 1

    def get_state(self, x):
        return self.State(
            total={"x": x.sum(0)},
            low=x.min(),
            high=x.max(),
            rows={"x": x},
            columns=x.T,
            first=x,
            inner=Inner(total=x.sum()),
        )


_x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
_metric = Everything()


def _check(state, x, num_kept=3):
    final = state.compute()
    np.testing.assert_allclose(final.total["x"], x.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(final.low, x.min())
    np.testing.assert_array_equal(final.high, x.max())
    np.testing.assert_array_equal(final.rows["x"], x)
    np.testing.assert_array_equal(final.columns, x.T)
    np.testing.assert_array_equal(final.first, x[:num_kept])
    np.testing.assert_allclose(final.inner, x.sum(), rtol=1e-5)
    assert state.parent == _metric
    assert (state.unit, state.scale) == ("mm", 1)
    leaves = jax.tree.leaves(state.finalize())
    assert all(isinstance(leaf, np.ndarray) for leaf in leaves)


def _parts():
    return [_metric.get_state(x=_x[i:j]) for i, j in [(0, 2), (2, 3), (3, 7)]]


@pytest.mark.parametrize("empty", [_metric.empty, Everything.State.empty])
def test_fields_merge_as_declared_with_empty_states_anywhere(empty):
    a, b, c = _parts()
    _check(a.merge(b).merge(c), _x)
    _check(a.merge(b.merge(c)), _x)
    _check(empty().merge(a).merge(empty()).merge(b.merge(c)), _x)
    _check(_metric.get_state(x=_x), _x)


def test_states_merge_after_being_finalized():
    a, b, c = _parts()
    merged = a.finalize().merge(_metric.empty().finalize()).merge(b).finalize()
    _check(merged.finalize().merge(c), _x)


def test_states_merge_inside_jit():
    @jax.jit
    def merged(x):
        states = [
            _metric.get_state(x=x[:4]),
            _metric.empty(),
            _metric.get_state(x=x[4:]),
        ]
        return functools.reduce(lambda a, b: a.merge(b), states)

    _check(merged(_x), _x)
    _check(merged(_x[:5]).merge(_metric.get_state(x=_x[5:])), _x)


def test_empty_state_computes_none():
    assert _metric.empty().compute().rows is None


def test_truncation_is_switched_off_by_none():
    metric = Everything(num_kept=None)
    state = metric.get_state(x=_x[:4]).merge(metric.get_state(x=_x[4:]))
    np.testing.assert_array_equal(state.compute().first, _x)


def test_many_chunks_are_collected_in_order():
    state = functools.reduce(
        lambda a, b: a.merge(b),
        [
            _metric.get_state(x=np.full((1 + i % 3, 2), i, np.float32))
            for i in range(50)
        ],
    )
    rows = state.compute().rows["x"][:, 0]
    np.testing.assert_array_equal(
        rows, np.repeat(np.arange(50), [1, 2, 3] * 16 + [1, 2])
    )
    assert len(state.rows.chunks) < 10


@flax.struct.dataclass
class Small(metrics.AutoState):
    total: Any = metrics.sum_field(default=None)
    rows: Any = metrics.concat_field(default=None)
    kind: str = "a"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (Small(kind="a"), Small(kind="b"), "Static fields must be equal: got 'a' and"),
        (Small(total=np.ones(1)), Small(), "Cannot sum None"),
        (Small(rows=np.ones(1)), Small(), "Cannot concatenate None"),
    ],
)
def test_what_does_not_fit_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message) as error:
        a.merge(b)
    assert "Small" in error.value.__notes__[0]


def test_none_merges_with_none():
    assert Small().merge(Small()).compute().total is None


def test_field_that_does_not_say_how_it_merges_is_refused():
    with pytest.raises(TypeError, match=r"'x' of .*Bad does not say how it merges"):

        class Bad(metrics.AutoState):
            x: Any = flax.struct.field(pytree_node=True)


def test_truncated_field_without_a_metric_says_so():
    @flax.struct.dataclass
    class State(metrics.AutoState):
        x: Any = metrics.truncate_field(num_field="parent.num")

    with pytest.raises(ValueError, match="no parent"):
        State(x=np.ones(3)).compute()


def test_counting_goes_on_past_single_precision():
    # f32 cannot count past 2^24: 16777216 + 1 == 16777216.
    one = metrics.AverageState.from_values(np.ones(1))
    big = one.replace(total=jnp.float32(2**24), count=jnp.float32(2**24))
    merged = functools.reduce(lambda a, b: a.merge(b), [big] + [one] * 9)
    assert merged.count == merged.total == 2**24 + 9
    state = Inner(total=jnp.int32(2**31 - 1)).merge(Inner(total=jnp.int32(1)))
    assert state.compute() == 2**31
    assert (
        Inner(total=jnp.ones(2, bool)).merge(Inner(total=np.ones(2, bool))).total[0]
        == 2
    )


def test_half_precision_fields_are_merged_in_double():
    state = Inner(total=jnp.bfloat16(256))
    for _ in range(4):
        state = state.merge(Inner(total=jnp.bfloat16(1)))
    assert state.compute() == 260  # bf16 cannot count past 256


def test_min_and_max_are_elementwise():
    @flax.struct.dataclass
    class State(metrics.AutoState):
        low: Any = auto_state.min_field()
        high: Any = auto_state.max_field()

    a, b = np.array([1, 5]), np.array([3, 2])
    value = State(low=a, high=a).merge(State(low=b, high=b)).compute()
    np.testing.assert_array_equal(value.low, [1, 2])
    np.testing.assert_array_equal(value.high, [3, 5])
