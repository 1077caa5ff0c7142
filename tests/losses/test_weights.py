"""Weights, windows, raw values, parameters, and counts past single precision."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import losses
from tests.losses import compiled

_x = np.arange(4, dtype=np.float32)


def test_raw_value_is_without_the_weight_and_merges():
    loss = losses.Value(values="x", weight=0.5)
    state = loss.get_state(values=_x).merge(loss.get_state(values=_x + 4))
    merged = loss.empty().merge(state).merge(loss.empty())
    np.testing.assert_allclose(merged.compute(), 1.75, rtol=1e-6)
    np.testing.assert_allclose(merged.compute_raw(), 3.5, rtol=1e-6)


def test_complex_values_are_refused_in_words(unchecked):
    with pytest.raises(TypeError, match=r"`L2` has complex values \(complex64\)"):
        losses.L2(preds="x", targets="y").get_state(preds=_x + 1j, targets=_x + 0j)


def test_states_merge_inside_jit():
    loss = losses.Value(values="x", weight=0.5)
    states = loss.get_state(values=_x), loss.get_state(values=_x + 4)
    merged = jax.jit(lambda a, b: a.merge(b))(*states)
    np.testing.assert_allclose(merged.compute(), 1.75, rtol=1e-6)
    np.testing.assert_allclose(merged.compute_raw(), 3.5, rtol=1e-6)


def test_raw_value_is_known_where_the_weight_is_zero():
    state = losses.Value(values="x", weight=0.0).get_state(values=_x)
    assert state.compute() == 0
    assert state.compute_raw() == 1.5


def test_window_switches_a_schedule_on_and_off():
    window = losses.Window(
        weight=optax.linear_schedule(0.0, 1.0, 10), start_step=5, stop_step=20
    )
    weights = [float(jax.jit(window)(step)) for step in (0, 4, 5, 10, 19, 20, 100)]
    np.testing.assert_allclose(weights, [0, 0, 0, 0.5, 1, 0, 0], rtol=1e-6)


def test_window_without_end_stays():
    window = losses.Window(weight=2.0, start_step=3)
    assert [float(window(s)) for s in (2, 3, 10**6)] == [0, 2, 2]


def test_empty_window_is_refused():
    with pytest.raises(ValueError, match="start_step=5, stop_step=5"):
        losses.Window(start_step=5, stop_step=5)


def test_windowed_loss_has_no_gradient_outside():
    loss = losses.L2(preds="p", targets="t", weight=losses.Window(start_step=10))

    @jax.jit
    @jax.grad
    def gradient(preds, step):
        context = {"p": preds, "t": jnp.zeros(4), "step": step}
        return losses.compute_losses({"l2": loss}, context)[0]

    np.testing.assert_array_equal(gradient(_x, 9), 0)
    np.testing.assert_allclose(gradient(_x, 10), 2 * _x / 4, rtol=1e-6)


def test_loss_of_batches_is_normalised_by_the_whole_mask():
    loss = losses.Value(values="x")
    masks = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    states = [loss.get_state(values=_x, mask=mask) for mask in masks]
    merged = functools.reduce(lambda a, b: a.merge(b), states)
    np.testing.assert_allclose(merged.compute(), (0 + 0 + 1 + 2) / 4, rtol=1e-6)


def test_loss_counts_past_single_precision():
    loss = losses.Value(values="x")
    one = loss.get_state(values=np.ones(1))
    big = one.replace(
        total=jnp.float32(2**24), count=jnp.float32(2**24), raw_total=jnp.float32(2**24)
    )
    merged = functools.reduce(lambda a, b: a.merge(b), [big] + [one] * 5)
    assert merged.count == merged.total == merged.raw_total == 2**24 + 5


def test_bytes_do_not_wrap_around():
    images = np.array([[0], [255]], np.uint8)
    loss = losses.L1(preds="p", targets="t")
    np.testing.assert_allclose(loss(preds=images, targets=images[::-1]), 255)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Huber(delta=0), "`delta` of Huber must be > 0: got 0"),
        (lambda: losses.FocalLoss(gamma=-1), "`gamma` of FocalLoss must be >= 0"),
        (lambda: losses.SigmoidFocalLoss(alpha=2), "must be >= 0 and <= 1: got 2"),
        (lambda: losses.SoftmaxCrossEntropy(label_smoothing=1.5), "label_smoothing"),
        (lambda: losses.KLDivergence(temperature=0), "temperature"),
        (lambda: losses.TripletMargin(margin=0), "margin"),
        (lambda: losses.InfoNCE(temperature=-1), "temperature"),
        (lambda: losses.TverskyLoss(alpha=-1), "alpha"),
        (lambda: losses.DiceLoss(activation="relu"), "'softmax', 'sigmoid' or None"),
        (lambda: losses.NormalizedCrossCorrelation(window=1), "window"),
        (lambda: losses.L1(normalize_by="batch"), "normalize_by"),
    ],
)
def test_parameter_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "shapes", "message"),
    [
        (
            losses.TripletMargin(anchors="a", positives="p", negatives="n"),
            {"anchors": (2, 3), "positives": (2, 3), "negatives": (1, 3)},
            r"\(1, 3\) \(key 'n'\)",
        ),
        (
            losses.InfoNCE(queries="q", positives="p"),
            {"queries": (2, 2, 3), "positives": (2, 2, 3)},
            r"`f\[b n\]`",
        ),
        (
            losses.TotalVariation(images="batch.x"),
            {"images": (2, 1, 3, 1)},
            "key 'batch.x' has shape",
        ),
        (
            losses.NormalizedCrossCorrelation(preds="p", targets="t", window=9),
            {"preds": (2, 4, 4, 1), "targets": (2, 4, 4, 1)},
            "window=9",
        ),
        (
            losses.NormalizedCrossCorrelation(preds="p", targets="t"),
            {"preds": (2, 0, 4, 1), "targets": (2, 0, 4, 1)},
            r"window=None`: got \(2, 0, 4, 1\)",
        ),
        (
            losses.PairwiseRanking(logits="l", labels="t"),
            {"logits": (2, 4), "labels": (2, 1)},
            "same shape",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_fit_are_refused(loss, shapes, message):
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=message):
        loss.get_state(**arrays)


def test_only_the_region_counts():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 2, 4, 3)), rng.integers(2, size=(2, 2, 4, 3))
    loss = losses.DiceLoss(
        logits="l", labels="t", region_mask="r", activation="sigmoid"
    )
    region = np.array([1, 1, 0, 0]) * np.ones((2, 2, 1))
    value = compiled.value(loss, logits=logits, labels=labels, region_mask=region)
    expected = compiled.value(loss, logits=logits[:, :, :2], labels=labels[:, :, :2])
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_absent_class_costs_nothing_without_smoothing():
    loss = losses.DiceLoss(logits="l", labels="t", activation=None, smooth=0.0)
    zeros = np.zeros((1, 4, 1), np.float32)
    assert compiled.value(loss, logits=zeros, labels=zeros) == 0


def test_missing_items_form_no_pairs():
    loss = losses.PairwiseRanking(logits="l", labels="t", item_mask="m")
    logits, labels = np.array([[1.0, 2.0, 9.0]]), np.array([[1, 0, 0]])
    value = compiled.value(
        loss, logits=logits, labels=labels, item_mask=np.array([[1, 1, 0]])
    )
    np.testing.assert_allclose(value, np.log1p(np.exp(1.0)), rtol=1e-6)
    assert compiled.value(loss, logits=logits, labels=0 * labels) == 0
