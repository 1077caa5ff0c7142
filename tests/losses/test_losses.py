"""Values and gradients of losses, against NumPy and SciPy formulas."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import special

from kauldron import losses
from tests.losses import compiled

_rng = np.random.default_rng(0)


def test_l2_is_the_mean_squared_difference():
    preds, targets = _rng.normal(size=(2, 4, 3)).astype(np.float32)
    loss = losses.L2(preds="p", targets="t")
    expected = np.mean((preds - targets) ** 2)
    np.testing.assert_allclose(
        compiled.value(loss, preds=preds, targets=targets), expected, rtol=1e-6
    )


@pytest.mark.usefixtures("unchecked")
def test_l2_does_not_broadcast():
    loss = losses.L2(preds="preds.image", targets="batch.image")
    with pytest.raises(ValueError, match=r"\(2, 3\) \(key 'preds.image'\)"):
        loss(preds=np.zeros((2, 3)), targets=np.zeros((1, 3)))


def test_cross_entropy_is_the_negative_log_softmax():
    logits = _rng.normal(size=(5, 4, 7)).astype(np.float32) * 10
    labels = _rng.integers(7, size=(5, 4, 1))
    expected = -np.take_along_axis(special.log_softmax(logits, -1), labels, -1).mean()
    loss = losses.SoftmaxCrossEntropyWithIntLabels(logits="l", labels="t")
    np.testing.assert_allclose(
        compiled.value(loss, logits=logits, labels=labels), expected, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(5, int), r"`i\[\*a 1\]`"),
        (np.zeros((5, 1), np.float32), "integer labels"),
    ],
)
def test_cross_entropy_refuses_labels_of_wrong_form(labels, message):
    loss = losses.SoftmaxCrossEntropyWithIntLabels(logits="l", labels="t")
    with pytest.raises(ValueError, match=message):
        loss(logits=np.zeros((5, 3), np.float32), labels=labels)


def test_a_choice_from_one_class_is_refused():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(logits="preds.x", labels="t")
    with pytest.raises(ValueError, match=r"there is one: key 'preds.x'.*num_classes=2"):
        loss(logits=np.zeros((5, 1), np.float32), labels=np.zeros((5, 1), int))


@pytest.mark.parametrize(
    ("normalize_by", "count"), [("mask", 2 * 3), ("values", 4 * 3)]
)
def test_masked_loss_is_normalised_as_told(normalize_by, count):
    preds, targets = _rng.normal(size=(2, 4, 3)).astype(np.float32)
    mask = np.array([1, 0, 1, 0])[:, None]
    loss = losses.L2(preds="p", targets="t", normalize_by=normalize_by)
    expected = ((preds - targets) ** 2 * mask).sum() / count
    value = compiled.value(loss, preds=preds, targets=targets, mask=mask)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_scheduled_weight_follows_the_step_of_the_context():
    loss = losses.L2(preds="p", targets="t", weight=lambda step: step / 10)
    context = {"p": np.array([2.0]), "t": np.array([0.0]), "step": 5}
    np.testing.assert_allclose(
        compiled.value(loss, context=context), 4 * 0.5, rtol=1e-6
    )


def test_scheduled_weight_without_a_step_is_refused():
    loss = losses.L2(preds="p", targets="t", weight=lambda step: step)
    with pytest.raises(ValueError, match="pass `step=`"):
        loss(preds=np.zeros(1), targets=np.zeros(1))


def test_total_is_the_weighted_sum_over_a_nested_tree():
    context = {"x": np.array([1.0, 2.0]), "zero": np.zeros(2), "step": 0}
    tree = {
        "a": losses.L2(preds="x", targets="zero", weight=2.0),
        "b": {"c": losses.L2(preds="x", targets="x")},
        "d": [losses.L2(preds="x", targets="zero")],
    }
    total, states = losses.compute_losses(tree, context)
    np.testing.assert_allclose(total, 2 * 2.5 + 0 + 2.5, rtol=1e-6)
    assert states["b"]["c"].compute() == 0


def test_no_losses_sum_to_zero():
    assert losses.compute_losses({}, {})[0] == 0


def test_all_masked_loss_has_a_finite_gradient():
    loss = losses.L2(preds="p", targets="t", mask="m")

    def value(preds):
        context = {"p": preds, "t": np.zeros(3), "m": np.zeros(3), "step": 0}
        return losses.compute_losses([loss], context)[0]

    np.testing.assert_array_equal(jax.jit(jax.grad(value))(np.ones(3)), np.zeros(3))


def test_zero_vector_has_cosine_0_and_a_gradient_of_its_norm_with_eps():
    loss = losses.NegativeCosineSimilarity(preds="p", targets="t", eps=0.5)
    targets = np.array([[3.0, 4.0]], np.float32)
    zeros = np.zeros((1, 2), np.float32)
    inputs = {"preds": zeros, "targets": targets}
    assert compiled.value(loss, **inputs) == 0
    expected = -targets / (0 + 0.5) / (5 + 0.5)
    np.testing.assert_allclose(compiled.gradient(loss, **inputs), expected, rtol=1e-6)
