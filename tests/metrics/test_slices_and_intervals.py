"""`SliceBy` and `Bootstrap`: what they measure, and what they refuse."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import sklearn.metrics as sk

from kauldron import losses, metrics

_rng = np.random.default_rng(0)
_logits = _rng.normal(size=(40, 3)).astype(np.float32)
_labels = _rng.integers(3, size=(40, 1))
_accuracy = metrics.Accuracy(logits="l", labels="t", mask="m")


def test_slices_without_examples_are_left_out():
    metric = metrics.SliceBy(
        metric=metrics.Norm(tensor="x", mask="m"), by="d", slices=["a", "b", "c"]
    )
    context = {"x": np.array([[3.0], [4.0], [5.0]]), "d": np.array([0, 2, 2])}
    context["m"] = np.array([1.0, 1.0, 0.0])
    assert metric(context=context) == {"a": 3, "c": 4}
    assert metric.__metric_names__() == ["a", "b", "c"]


def test_metric_without_mask_cannot_be_sliced():
    with pytest.raises(TypeError, match="NoopMetric takes no `mask`"):
        metrics.SliceBy(metric=metrics.NoopMetric(), by="d", slices=2)


def test_interval_is_as_wide_as_theory_says():
    x = _rng.normal(2, 1, size=(400, 1)).astype(np.float32)
    metric = metrics.Bootstrap(metric=metrics.SingleDimension(tensor="x"), seed=1)
    value = metric(tensor=x)
    # Normal approximation: +- 1.96 sigma / sqrt(n); 1000 draws leave some 5 % noise.
    np.testing.assert_allclose(value["value"], x.mean(), rtol=1e-5)
    half_width = 1.96 * x.std() / 20
    np.testing.assert_allclose(x.mean() - value["low"], half_width, rtol=0.15)
    np.testing.assert_allclose(value["high"] - x.mean(), half_width, rtol=0.15)


def test_collected_scores_can_be_resampled():
    logits = _rng.normal(size=(50, 2))
    labels = (logits[:, 1:] + _rng.normal(size=(50, 1)) > 0).astype(int)
    auc = metrics.RocAuc(logits="l", labels="t")
    value = metrics.Bootstrap(metric=auc, num_resamples=50)(
        logits=logits, labels=labels
    )
    np.testing.assert_allclose(value["value"], auc(logits=logits, labels=labels))
    assert value["low"] < value["value"] < value["high"]


def test_states_that_do_not_add_up_cannot_be_resampled():
    metric = metrics.Bootstrap(metric=metrics.Std(values="x"))
    with pytest.raises(TypeError, match="got Std with MomentsState"):
        metric.get_state(values=np.ones((3, 1)))


@pytest.mark.parametrize("by_shape", [(40,), (40, 1)])
@pytest.mark.parametrize("mask_shape", [(40,), (40, 1)])
def test_slices_and_masks_may_lack_the_last_axis(by_shape, mask_shape):
    by, mask = _rng.integers(2, size=by_shape), _rng.integers(2, size=mask_shape)
    for metric, values, each in [
        (_accuracy, {"logits": _logits, "labels": _labels}, None),
        (
            metrics.Norm(tensor="x", mask="m"),
            {"tensor": _logits},
            np.linalg.norm(_logits, axis=-1),
        ),
    ]:
        if each is None:
            each = _logits.argmax(-1) == _labels[:, 0]
        value = metrics.SliceBy(metric=metric, by="d", slices=2)(
            by=by, mask=mask, **values
        )
        for name in (0, 1):
            at = (by.ravel() == name) & (mask.ravel() == 1)
            np.testing.assert_allclose(value[str(name)], each[at].mean(), rtol=1e-6)


def test_losses_and_collected_scores_can_be_sliced():
    by = np.arange(40) % 2
    loss = losses.L2(preds="p", targets="t", weight=2.0)
    value = metrics.SliceBy(metric=loss, by="d", slices=["even", "odd"])(
        preds=_logits, targets=0 * _logits, by=by
    )
    np.testing.assert_allclose(value["odd"], 2 * (_logits[1::2] ** 2).mean(), rtol=1e-6)
    binary = (_labels > 0).astype(int)
    roc = metrics.RocAuc(logits="l", labels="t")
    value = metrics.SliceBy(metric=roc, by="d", slices=["even", "odd"])(
        logits=_logits[:, :1], labels=binary, by=by
    )
    expected = sk.roc_auc_score(binary[::2, 0], _logits[::2, 0])
    np.testing.assert_allclose(value["even"], expected, rtol=1e-12)


@pytest.mark.parametrize("slices", [0, [], ["a", "a"], {"a": "x"}, {"a": 0.5}, {}])
def test_slices_that_are_none_are_refused(slices):
    with pytest.raises(ValueError, match="number >= 1, different names, or a dict"):
        metrics.SliceBy(metric=_accuracy, by="d", slices=slices)


def test_slice_of_another_number_of_examples_is_refused():
    metric = metrics.SliceBy(metric=_accuracy, by="d", slices=2)
    with pytest.raises(ValueError, match=r"mask \(3,\), values \(40, 1\)"):
        metric.get_state(logits=_logits, labels=_labels, by=np.zeros(3, int))


def test_what_has_no_examples_is_shared_by_all_resamples():
    loss = losses.L2(preds="p", targets="t", weight=lambda step: step / 2)
    context = {"p": _logits, "t": 0 * _logits, "step": 6}
    value = metrics.Bootstrap(metric=loss, num_resamples=50)(context=context)
    np.testing.assert_allclose(value["value"], 3 * (_logits**2).mean(), rtol=1e-6)
    assert value["low"] < value["value"] < value["high"]


def test_dicts_of_values_have_an_interval_each():
    f1 = metrics.F1(logits="l", labels="t", average="per_class")
    value = metrics.Bootstrap(metric=f1, num_resamples=50)(
        logits=_logits, labels=_labels
    )
    expected = sk.f1_score(_labels, _logits.argmax(-1), average=None)
    np.testing.assert_allclose(list(value["value"].values()), expected, rtol=1e-12)
    assert all(value["low"][k] < value["high"][k] for k in value["value"])


def test_masked_examples_are_no_part_of_the_value():
    mask = _rng.integers(2, size=(40, 1))
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=20)
    value = metric(logits=_logits, labels=_labels, mask=mask)["value"]
    expected = np.mean((_logits.argmax(-1) == _labels[:, 0])[mask[:, 0] == 1])
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_intervals_of_none_and_of_one_example():
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=3)
    assert metric.empty().finalize().compute() == {}
    one = metric(logits=np.eye(3)[:1], labels=np.zeros((1, 1), int))
    assert one == {"value": 1, "low": 1, "high": 1}


def test_inputs_of_different_numbers_of_examples_cannot_be_resampled():
    metric = metrics.Bootstrap(metric=_accuracy)
    with pytest.raises(
        ValueError, match=r"examples as first axis .*'labels': \(5, 1\)"
    ):
        metric.get_state(logits=_logits, labels=_labels[:5])


def test_same_intervals_in_any_batches():
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=20, seed=3)
    get_state = jax.jit(lambda x, y: metric.get_state(logits=x, labels=y))
    a, b = get_state(_logits[:15], _labels[:15]), get_state(_logits[15:], _labels[15:])
    whole = get_state(_logits, _labels)
    assert a.merge(b).finalize().compute() == whole.finalize().compute()
