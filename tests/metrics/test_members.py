"""Values of the metrics, against NumPy and hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import metrics

_rng = np.random.default_rng(0)


def test_accuracy_is_the_fraction_of_right_argmaxes():
    logits = _rng.normal(size=(4, 5, 7)).astype(np.float32)
    labels = _rng.integers(7, size=(4, 5, 1))
    expected = np.mean(logits.argmax(-1) == labels[..., 0])
    metric = metrics.Accuracy(logits="l", labels="t")
    np.testing.assert_allclose(
        metric(logits=logits, labels=labels), expected, rtol=1e-6
    )


def test_accuracy_takes_predicted_labels():
    metric = metrics.Accuracy(pred_labels="p", labels="t")
    value = metric(
        pred_labels=np.array([[0], [1], [2], [2]]),
        labels=np.array([[0], [1], [0], [2]]),
        mask=np.array([[1], [1], [1], [0]]),
    )
    np.testing.assert_allclose(value, 2 / 3, rtol=1e-6)


@pytest.mark.parametrize("given", [{}, {"logits": 1, "pred_labels": 1}])
@pytest.mark.usefixtures("unchecked")
def test_accuracy_needs_exactly_one_kind_of_prediction(given):
    metric = metrics.Accuracy(logits="l", labels="t")
    values = {k: np.zeros((2, 1)) for k in given}
    with pytest.raises(ValueError, match="exactly one"):
        metric(labels=np.zeros((2, 1), int), **values)


@pytest.mark.usefixtures("unchecked")
def test_accuracy_refuses_labels_without_last_axis():
    metric = metrics.Accuracy(logits="l", labels="t")
    with pytest.raises(ValueError, match="Rearrange"):
        metric(logits=np.zeros((2, 3)), labels=np.zeros(2, int))


@pytest.mark.parametrize("axis", [-1, 0, (0, 1)])
@pytest.mark.parametrize("order", [None, 1])
def test_norm_is_the_mean_of_numpy_norms(axis, order):
    x = _rng.normal(size=(3, 4, 5)).astype(np.float32)
    expected = np.linalg.norm(x, ord=order, axis=axis).mean()
    value = metrics.Norm(tensor="x", axis=axis, ord=order)(tensor=x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("order", [None, 1, 3])
def test_concatenated_norm_is_that_of_all_batches_end_to_end(order):
    a, b = _rng.normal(size=(2, 3, 4)).astype(np.float32)
    metric = metrics.Norm(tensor="x", axis=None, ord=order, aggregation_type="concat")
    merged = metric.get_state(tensor=a).merge(metric.get_state(tensor=b))
    expected = np.linalg.norm(np.concatenate([a.ravel(), b.ravel()]), ord=order or 2)
    np.testing.assert_allclose(merged.compute(), expected, rtol=1e-5)
    assert metric.empty().merge(merged).compute() == merged.compute()


def test_averaged_whole_norm_is_the_mean_of_the_norms():
    a, b = _rng.normal(size=(2, 3, 4)).astype(np.float32)
    metric = metrics.Norm(tensor="x", axis=None, aggregation_type="average")
    merged = metric.get_state(tensor=a).merge(metric.get_state(tensor=b))
    expected = (np.linalg.norm(a) + np.linalg.norm(b)) / 2
    np.testing.assert_allclose(merged.compute(), expected, rtol=1e-5)


def test_merging_whole_norms_warns_until_told_how():
    metric = metrics.Norm(tensor="x", axis=None)
    state = metric.get_state(tensor=np.ones(3))
    with pytest.warns(UserWarning, match="aggregation_type"):
        state.merge(state)


def test_noop_metric_gives_no_value():
    assert metrics.NoopMetric()() == {}
