"""Losses of contrib against values by hand and NumPy f64."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd

RNG = np.random.default_rng(0)


def test_weighted_l1_weighs_every_element():
    loss = kd.contrib.losses.WeightedL1(preds="p", targets="t", weights="w")
    preds, targets = np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 2))
    weights = np.array([[1.0, 0.5], [0.0, 2.0]])
    value = loss(preds=preds, targets=targets, weights=weights)
    assert value == pytest.approx((1 + 1 + 0 + 8) / 4)
    by_row = loss(preds=preds, targets=targets, weights=np.array([2.0, 1.0]))
    assert by_row == pytest.approx((2 + 4 + 3 + 4) / 4)


def test_what_has_no_weight_leaves_no_trace_in_value_or_gradient():
    loss = kd.contrib.losses.WeightedL1(preds="p", targets="t", weights="w")
    targets = np.array([np.nan, 1.0], np.float32)

    def value(preds):
        return loss(preds=preds, targets=targets, weights=np.array([0.0, 3.0]))

    assert value(np.array([5.0, 3.0], np.float32)) == pytest.approx(3.0)


def test_weights_that_do_not_fit_are_refused():
    loss = kd.contrib.losses.WeightedL1(preds="p", targets="t", weights="w")
    with pytest.raises(ValueError, match="does not fit the values"):
        loss(preds=np.zeros((2, 3)), targets=np.zeros((2, 3)), weights=np.zeros(3))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_iou_loss_is_one_minus_soft_intersection_over_union(activation):
    logits = RNG.normal(size=(3, 4, 5, 2))
    labels = RNG.integers(0, 2, (3, 4, 5, 1))
    probs = {
        "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        None: np.abs,
    }[activation](logits)
    if activation is None:
        logits = probs
    truth = np.eye(2)[labels[..., 0]]
    both = (probs * truth).sum((1, 2))
    union = probs.sum((1, 2)) + truth.sum((1, 2)) - both
    expected = np.mean(1 - (both + 1) / (union + 1))
    loss = kd.contrib.losses.IoULoss(logits="x", labels="y", activation=activation)
    value = jax.jit(lambda x: loss(logits=x, labels=labels))(logits.astype("f4"))
    assert value == pytest.approx(expected, rel=1e-5)


def test_iou_loss_is_zero_for_perfect_regions_and_has_a_gradient():
    loss = kd.contrib.losses.IoULoss(logits="x", labels="y", smooth=0.0)
    labels = np.array([[0, 1, 2, 2], [2, 1, 0, 0]])[..., None]
    logits = 50 * np.eye(3, dtype=np.float32)[labels[..., 0]]
    function = lambda x: loss(logits=x, labels=labels)  # noqa: E731
    assert jax.jit(function)(logits) == pytest.approx(0, abs=1e-6)
    gradient = np.asarray(jax.jit(jax.grad(function))(0 * logits))
    assert np.all(np.isfinite(gradient)) and np.abs(gradient).max() > 0
