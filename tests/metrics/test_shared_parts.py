"""What several metrics of one step have in common is traced once, and never leaks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.metrics import shared_parts

LOGITS = np.float32([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [np.nan, 1, 0], [0, 0, 0]])
LABELS = np.int32([[1], [2], [1], [0]])
KEYS = {"logits": "batch.logits", "labels": "batch.labels"}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def double(calls):
    @shared_parts.shared
    def double(x, *, by=2):
        calls.append(by)
        return x * by

    return double


def _measure(metrics, batch):
    context = kd.train.Context(step=0, batch=batch)
    aux = kd.train.Auxiliaries(losses={}, metrics=metrics, summaries={})
    return aux.update_context(context).metric_states


def test_a_part_of_the_same_arrays_is_computed_once(double, calls):
    @jax.jit
    def f(x, y):
        with shared_parts.sharing():
            return double(x) + double(x), double(y), double(x, by=3)

    assert [float(v) for v in f(1.0, 5.0)] == [4.0, 10.0, 3.0]
    assert calls == [2, 2, 3]


def test_nothing_is_shared_outside_of_the_block_or_between_blocks(double, calls):
    x = jnp.ones(())
    double(x), double(x)
    for _ in range(2):
        with shared_parts.sharing():
            double(x), double(x)
    assert len(calls) == 2 + 2


def test_a_part_that_another_function_has_computed_does_not_leave_it(double, calls):
    @jax.jit
    def f(x):
        with shared_parts.sharing():
            inside = jax.jit(lambda y: y + double(x))(1.0)
            branch = jax.lax.cond(x > 0, lambda: double(x), lambda: x)
            return inside, branch, double(x)

    assert [float(v) for v in f(4.0)] == [9.0, 8.0, 8.0]
    assert len(calls) == 3


def test_metrics_that_read_the_same_keys_check_them_once():
    def num_equations(num_metrics):
        metrics = {
            f"{i}": kd.metrics.TopKAccuracy(k=i + 1, **KEYS) for i in range(num_metrics)
        }
        batch = {"logits": LOGITS, "labels": LABELS}
        return len(jax.make_jaxpr(lambda b: _measure(metrics, b))(batch).eqns)

    one, more = num_equations(1), num_equations(11)
    assert (more - one) / 10 < one / 4


def test_metrics_that_share_parts_measure_what_they_measure_alone():
    metrics = {
        "first": kd.metrics.Accuracy(**KEYS),
        "second": kd.metrics.TopKAccuracy(k=2, **KEYS),
        "masked": kd.metrics.Accuracy(mask="batch.mask", **KEYS),
        "ignoring": kd.metrics.TopKAccuracy(k=1, ignored_label=2, **KEYS),
    }
    batch = {
        "logits": LOGITS,
        "labels": LABELS,
        "mask": np.float32([[1], [1], [0], [1]]),
    }

    states = jax.jit(lambda b: _measure(metrics, b))(batch)

    values = {k: float(s.compute()) for k, s in jax.device_get(states).items()}
    # Row 2 has a NaN, so it is wrong; of the equal scores of row 3 the first is highest.
    expected = {"first": 2 / 4, "second": 3 / 4, "masked": 2 / 3, "ignoring": 2 / 3}
    assert values == pytest.approx(expected, rel=1e-6)


def test_errors_name_the_metric_whose_labels_are_wrong_though_others_share_them():
    metrics = {
        "a": kd.metrics.Accuracy(**KEYS),
        "b": kd.metrics.TopKAccuracy(k=1, **KEYS),
    }
    batch = {"logits": LOGITS, "labels": LABELS + 2}
    states = jax.device_get(jax.jit(lambda b: _measure(metrics, b))(batch))
    for name, kind in (("a", "Accuracy"), ("b", "TopKAccuracy")):
        with pytest.raises(
            kd.metrics.LabelError, match=rf"^{kind}: 3 labels .* 3 to 4"
        ):
            states[name].compute()
    floats = {"logits": LOGITS, "labels": LABELS.astype(np.float32)}
    with pytest.raises((TypeError, ValueError), match="labels"):
        _measure({"b": metrics["b"]}, floats)


def test_labels_that_a_loss_and_metrics_read_are_checked_once():
    keys = {"logits": "preds.logits", "labels": "batch.label"}
    measured = kd.train.Auxiliaries(
        losses={"loss": kd.losses.SoftmaxCrossEntropyWithIntLabels(**keys)},
        metrics={
            "right": kd.metrics.Accuracy(**keys),
            "ece": kd.metrics.CalibrationError(**keys),
        },
        summaries={},
    )
    context = kd.train.Context(
        step=0,
        batch={"label": jnp.zeros((4, 1), jnp.int32)},
        preds={"logits": jnp.zeros((4, 3))},
    )
    after = measured.update_context(context)
    states = [after.loss_states["loss"], *after.metric_states.values()]
    first, *others = (state.bad_labels.records["labels"] for state in states)
    assert all(x is first for x in others)
