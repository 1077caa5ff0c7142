"""Scores of -inf and of great size: the limits, in value and gradient."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import special

from kauldron import losses

_inf = np.inf
_keys = {"logits": "l", "labels": "t"}
_rows = np.array(
    [[-_inf, 0.0, 1.0, -2.0], [60.0, -_inf, -60.0, 0.0], [-_inf, -_inf, 60.0, 3.0]],
    np.float32,
)


def _value_and_grad(loss, logits, **inputs):
    logits = np.asarray(logits, np.float32)
    return jax.jit(jax.value_and_grad(lambda x: loss(logits=x, **inputs)))(logits)


def _log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - special.logsumexp(x, axis=-1, keepdims=True)


def _one_hot(ids):
    return np.eye(4)[ids]


@pytest.mark.parametrize("ids", [[1, 0, 2], [2, 3, 3], [3, 2, 2]])
def test_cross_entropy_over_the_classes_that_are_allowed(ids):
    expected = -np.mean(
        [row[i] for row, i in zip(_log_softmax(_rows), ids, strict=True)]
    )
    gradient = (np.exp(_log_softmax(_rows)) - _one_hot(ids)) / 3
    labels = np.array(ids)[:, None]
    kl = losses.KLDivergence(logits="l", targets="t")
    for value, grad in [
        _value_and_grad(
            losses.SoftmaxCrossEntropyWithIntLabels(**_keys), _rows, labels=labels
        ),
        _value_and_grad(losses.FocalLoss(gamma=0.0, **_keys), _rows, labels=labels),
        _value_and_grad(
            losses.SoftmaxCrossEntropy(**_keys), _rows, labels=_one_hot(ids)
        ),
        _value_and_grad(kl, _rows, targets=_one_hot(ids)),
    ]:
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        # Differences of probabilities in f32.
        np.testing.assert_allclose(grad, gradient, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_over_the_classes_that_are_allowed(gamma):
    nats = -_log_softmax(_rows)[np.arange(3), [1, 3, 3]]
    expected = np.mean((-np.expm1(-nats)) ** gamma * nats)
    value, grad = _value_and_grad(
        losses.FocalLoss(gamma=gamma, **_keys), _rows, labels=np.array([[1], [3], [3]])
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert np.isfinite(grad).all()
    np.testing.assert_array_equal(np.asarray(grad)[np.isinf(_rows)], 0)


@pytest.mark.parametrize(
    "loss",
    [
        losses.SoftmaxCrossEntropyWithIntLabels(**_keys),
        losses.SoftmaxCrossEntropyWithIntLabels(label_smoothing=0.1, **_keys),
        losses.SoftmaxCrossEntropyWithIntLabels(label_smoothing=1.0, **_keys),
        losses.FocalLoss(**_keys),
        losses.FocalLoss(gamma=0.5, **_keys),
        losses.MulticlassHinge(**_keys),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_label_that_is_not_allowed_costs_infinity_and_pushes_its_score_up(loss):
    value, grad = _value_and_grad(loss, _rows[:1], labels=np.array([[0]]))
    assert value == _inf
    assert np.isfinite(grad).all()
    assert grad[0, 0] < 0


def test_smoothing_gives_every_class_a_share_that_is_not_allowed():
    for loss, labels in [
        (losses.SoftmaxCrossEntropyWithIntLabels, np.array([[1]])),
        (losses.SoftmaxCrossEntropy, _one_hot([1])),
    ]:
        smooth = loss(label_smoothing=0.1, **_keys)
        value, grad = _value_and_grad(smooth, _rows[:1], labels=labels)
        assert value == _inf
        expected = np.exp(_log_softmax(_rows[:1])) - 0.9 * _one_hot([1]) - 0.1 / 4
        np.testing.assert_allclose(grad, expected, atol=1e-7)


def test_hinge_of_classes_ignores_those_that_are_not_allowed():
    loss = losses.MulticlassHinge(**_keys)
    value, grad = _value_and_grad(loss, _rows[:1], labels=np.array([[1]]))
    assert value == 2  # 1 + 1 - 0
    np.testing.assert_array_equal(grad, [[0, -1, 1, 0]])
    alone = np.array([[-_inf, 0.0, -_inf]])
    assert _value_and_grad(loss, alone, labels=np.array([[1]]))[0] == 0


def test_divergence_of_probabilities_is_that_of_scipy():
    targets = np.array([[0, 0.25, 0.75, 0], [0.5, 0, 0.1, 0.4], [0, 0, 1, 0]])
    probs = np.exp(_log_softmax(_rows))
    expected = special.rel_entr(targets, probs).sum(-1).mean()
    loss = losses.KLDivergence(logits="l", targets="t")
    value, grad = _value_and_grad(loss, _rows, targets=targets)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(grad, (probs - targets) / 3, atol=1e-7)
    value, grad = _value_and_grad(loss, _rows, targets=np.full((3, 4), 0.25))
    assert value == _inf
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_of_scores_is_that_of_scipy(temperature):
    targets = np.array([[-_inf, 1, -60, 3], [1, -_inf, 3, 4], [-_inf, -_inf, -_inf, 2]])
    p, q = (np.exp(_log_softmax(x / temperature)) for x in (targets, _rows))
    loss = losses.KLDivergence(
        logits="l", targets="t", targets_are_logits=True, temperature=temperature
    )
    value, grad = _value_and_grad(loss, _rows, targets=targets)
    expected = special.rel_entr(p, q).sum(-1).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(grad, (q - p) / 3 / temperature, atol=1e-6)
    by_targets = jax.jit(jax.grad(lambda t: loss(logits=_rows, targets=t)))
    assert np.isfinite(by_targets(targets.astype(np.float32))).all()
    same, grad = _value_and_grad(loss, _rows, targets=_rows)
    np.testing.assert_allclose(same, 0, atol=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-6)
    assert _value_and_grad(loss, _rows, targets=0 * targets[:, ::-1].clip(0))[0] == _inf


_extremes = [_inf, -_inf, 60.0, -60.0, 100.0, -100.0, 0.0]


@pytest.mark.parametrize("score", _extremes)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 2.0])
def test_binary_losses_of_extreme_scores_are_their_limits(score, label, gamma):
    # In f64, and for the right side exact: log(1 + exp(-s)).
    signed = score if label else -score
    nats = np.logaddexp(0, -np.float64(signed))
    other = special.expit(-np.float64(signed))
    expected = nats if not gamma else (other**gamma * nats if nats < _inf else _inf)
    loss = (
        losses.SigmoidBinaryCrossEntropy(**_keys)
        if gamma is None
        else losses.SigmoidFocalLoss(gamma=gamma, **_keys)
    )
    value, grad = _value_and_grad(loss, [score], labels=np.array([label]))
    # Below the smallest normal f32 there is 0.
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-37)
    assert np.isfinite(grad).all()
    assert (grad[0] <= 0) == (label == 1) or grad[0] == 0


def test_pairs_of_scores_that_are_not_allowed_are_none():
    loss = losses.PairwiseRanking(**_keys)
    logits = np.array([[-_inf, -_inf, 1.0, 0.0]])
    value, grad = _value_and_grad(loss, logits, labels=np.array([[0, 0, 1, 0]]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-1)) / 3, rtol=1e-6)
    share = special.expit(-1) / 3
    np.testing.assert_allclose(grad, [[0, 0, -share, share]], rtol=1e-6)


def test_regions_of_scores_that_are_not_allowed_have_probability_zero():
    loss = losses.DiceLoss(smooth=0.0, **_keys)
    logits = np.array([[[-_inf, 0.0, 1.0], [-_inf, 2.0, -60.0]]])
    probs = special.softmax(logits, -1)
    labels = np.array([[[2], [1]]])
    hits = np.array([0, probs[0, 1, 1], probs[0, 0, 2]])
    totals = probs[0].sum(0) + np.array([0, 1, 1])
    expected = 1 - 2 * hits[1:] / totals[1:]
    value, grad = _value_and_grad(loss, logits, labels=labels)
    np.testing.assert_allclose(value, expected.sum() / 3, rtol=1e-6)
    assert np.isfinite(grad).all()
