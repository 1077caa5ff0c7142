"""Parameters of losses, and their defaults, against formulas of a few numbers."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import special, stats

from kauldron import losses
from tests.losses import compiled

_rng = np.random.default_rng(5)
_logits = _rng.normal(size=(3, 4)).astype(np.float32)
_ids = np.array([[0], [3], [1]])
_a, _b = _rng.normal(size=(2, 3, 4)).astype(np.float32)
_classified = {"logits": "l", "labels": "t"}
_pair = {"preds": "p", "targets": "t"}


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_smoothing_spreads_a_share_of_any_distribution_over_all_classes(smoothing):
    labels = _rng.dirichlet(np.ones(4), size=3).astype(np.float32)
    smoothed = (1 - smoothing) * labels + smoothing / 4
    expected = -(smoothed * special.log_softmax(_logits, -1)).sum(-1).mean()
    loss = losses.SoftmaxCrossEntropy(label_smoothing=smoothing, **_classified)
    value = compiled.value(loss, logits=_logits, labels=labels)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # Of class ids it is the same as of their one-hot.
    of_ids = losses.SoftmaxCrossEntropyWithIntLabels(
        label_smoothing=smoothing, **_classified
    )
    one_hot = np.eye(4, dtype=np.float32)[_ids[:, 0]]
    expected = compiled.value(loss, logits=_logits, labels=one_hot)
    value = compiled.value(of_ids, logits=_logits, labels=_ids)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("margin", [None, 0.25, 3.0])
def test_triplets_are_apart_by_the_margin(margin):
    options = {} if margin is None else {"margin": margin}
    loss = losses.TripletMargin(anchors="a", positives="p", negatives="n", **options)
    # Distances 5 and 5.5 from the anchor: half a unit of the margin is there already.
    anchors = np.zeros((1, 2), np.float32)
    positives, negatives = np.array([[[3.0, 4.0]], [[0.0, 5.5]]], np.float32)
    value = compiled.value(
        loss, anchors=anchors, positives=positives, negatives=negatives
    )
    expected = max(0, 5 - 5.5 + (1 if margin is None else margin))
    np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [None, 0.7])
@pytest.mark.parametrize("is_symmetric", [None, False, True])
def test_queries_look_for_positives_and_these_for_queries_if_told(
    temperature, is_symmetric
):
    options = {"temperature": temperature, "is_symmetric": is_symmetric}
    options = {k: v for k, v in options.items() if v is not None}
    logits = _unit(_a) @ _unit(_b).T / (temperature or 0.1)
    to_positives, to_queries = (
        -np.diagonal(special.log_softmax(logits, axis)).mean() for axis in (1, 0)
    )
    expected = (to_positives + to_queries) / 2 if is_symmetric else to_positives
    loss = losses.InfoNCE(queries="q", positives="p", **options)
    value = compiled.value(loss, queries=_a, positives=_b)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_focal_losses_focus_with_two_and_weigh_all_alike_unless_told():
    nats = -special.log_softmax(_logits, -1)[np.arange(3), _ids[:, 0]]
    expected = ((1 - np.exp(-nats)) ** 2 * nats).mean()
    value = compiled.value(losses.FocalLoss(**_classified), logits=_logits, labels=_ids)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    labels = (_a > 0).astype(int)
    nats = -np.log(np.where(labels, special.expit(_logits), special.expit(-_logits)))
    expected = ((1 - np.exp(-nats)) ** 2 * nats).mean()
    value = compiled.value(
        losses.SigmoidFocalLoss(**_classified), logits=_logits, labels=labels
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_alpha_weighs_positives_and_gamma_focuses(gamma, alpha):
    logits = np.array([1.5, -0.5], np.float32)
    loss = losses.SigmoidFocalLoss(alpha=alpha, gamma=gamma, **_classified)
    for label, share in [(1, alpha), (0, 1 - alpha)]:
        p = special.expit(logits if label else -logits)
        expected = (share * (1 - p) ** gamma * -np.log(p)).mean()
        value = compiled.value(loss, logits=logits, labels=np.full(2, label))
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("delta", [None, 0.5, 4.0])
def test_huber_is_linear_from_delta_on(delta):
    d = np.array([0.25, -0.75, 3.0, -5.0], np.float32)
    options = {} if delta is None else {"delta": delta}
    value = compiled.value(losses.Huber(**_pair, **options), preds=d, targets=0 * d)
    np.testing.assert_allclose(value, special.huber(delta or 1.0, d).mean(), rtol=1e-6)


@pytest.mark.parametrize("are_logits", [False, True])
def test_temperature_divides_the_scores_but_not_probabilities(are_logits):
    targets = 2 * _a if are_logits else special.softmax(_a, -1)
    p = special.softmax(targets / 3, -1) if are_logits else targets
    q = special.softmax(_logits / 3, -1)
    loss = losses.KLDivergence(
        logits="l", targets="t", targets_are_logits=are_logits, temperature=3.0
    )
    value = compiled.value(loss, logits=_logits, targets=targets)
    np.testing.assert_allclose(value, stats.entropy(p, q, axis=-1).mean(), rtol=1e-5)


@pytest.mark.parametrize("eps", [None, 0.5])
def test_eps_is_added_to_each_norm_of_a_cosine(eps):
    options = {} if eps is None else {"eps": eps}
    preds = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    targets = np.array([[4.0, 3.0], [1.0, 0.0]], np.float32)
    cosine = 24 / (5 + (eps or 0)) ** 2  # that of a zero vector is 0
    inputs = {"preds": preds, "targets": targets}
    value = compiled.value(
        losses.NegativeCosineSimilarity(**_pair, **options), **inputs
    )
    np.testing.assert_allclose(value, -cosine / 2, rtol=1e-6)
    value = compiled.value(losses.CosineDistance(**_pair, **options), **inputs)
    np.testing.assert_allclose(value, (2 - cosine) / 2, rtol=1e-6)


@pytest.mark.parametrize("smooth", [None, 0.0, 2.5])
def test_regions_are_smoothed_above_and_below(smooth):
    options = {} if smooth is None else {"smooth": smooth}
    smooth = 1.0 if smooth is None else smooth
    # 1.5 right, 0.75 too much, 0.5 missed.
    probs = np.array([1.0, 0.5, 0.75, 0.0], np.float32)[None, :, None]
    labels = np.array([1, 1, 0, 0])[None, :, None]
    right, wrong, missed = 1.5, 0.75, 0.5
    options = {"activation": None, **_classified, **options}
    for loss, alpha, beta in [
        (losses.DiceLoss(**options), 0.5, 0.5),
        (losses.TverskyLoss(**options), 0.5, 0.5),
        (losses.TverskyLoss(alpha=0.0, beta=3.0, **options), 0.0, 3.0),
        (losses.TverskyLoss(alpha=2.0, beta=0.25, **options), 2.0, 0.25),
    ]:
        below = right + alpha * wrong + beta * missed + smooth
        value = compiled.value(loss, logits=probs, labels=labels)
        np.testing.assert_allclose(value, 1 - (right + smooth) / below, rtol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_scores_of_regions_become_probabilities_as_told(activation):
    scores = _rng.random(size=(2, 5, 3)).astype(np.float32)
    labels = _rng.integers(3, size=(2, 5, 1))
    make = {"softmax": lambda x: special.softmax(x, -1), "sigmoid": special.expit}
    probs = make.get(activation, lambda x: x)(scores)
    expected = compiled.value(
        losses.DiceLoss(activation=None, **_classified), logits=probs, labels=labels
    )
    loss = losses.DiceLoss(activation=activation, **_classified)
    value = compiled.value(loss, logits=scores, labels=labels)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_variation_is_down_plus_across():
    # Ten a row down, one a column across, the same in both channels.
    image = 10 * np.arange(3)[:, None] + np.arange(4)
    images = np.repeat(image[None, :, :, None], 2, axis=-1).astype(np.float32)
    assert compiled.value(losses.TotalVariation(images="x"), images=images) == 11


@pytest.mark.parametrize("window", [None, 3])
def test_correlation_is_blind_to_brightness_but_not_to_sign(window):
    x = _rng.normal(size=(2, 6, 5, 1)).astype(np.float32)
    loss = losses.NormalizedCrossCorrelation(window=window, **_pair)
    values = [compiled.value(loss, preds=x, targets=y) for y in (x, 1000 + 2 * x, -x)]
    np.testing.assert_allclose(values, [0, 0, 2], atol=1e-3)


def test_eps_of_a_correlation_is_added_to_the_product_of_the_variances():
    x = np.array([-1.0, 1.0], np.float32).reshape(1, 2, 1)
    loss = losses.NormalizedCrossCorrelation(eps=3.0, **_pair)
    # Covariance and variances are 1.
    np.testing.assert_allclose(
        compiled.value(loss, preds=x, targets=x), 1 - 1 / 2, rtol=1e-6
    )
    flat = compiled.value(
        losses.NormalizedCrossCorrelation(**_pair), preds=x, targets=0 * x
    )
    assert flat == 1


def test_ignored_probabilities_keep_the_weights_of_the_others():
    loss = losses.SigmoidBinaryCrossEntropy(ignored_label=-1, **_classified)
    logits, labels = np.array([1.0, -2.0, 3.0]), np.array([0.25, 0.75, -1.0])
    weights = np.array([3.0, 1.0, 5.0])
    p = special.expit(logits[:2])
    nats = -(labels[:2] * np.log(p) + (1 - labels[:2]) * np.log1p(-p))
    value = compiled.value(loss, logits=logits, labels=labels, mask=weights)
    np.testing.assert_allclose(value, (3 * nats[0] + nats[1]) / 4, rtol=1e-5)


def test_an_ignored_place_and_one_outside_of_the_region_both_do_not_count():
    loss = losses.DiceLoss(
        region_mask="r", ignored_label=255, activation="sigmoid", **_classified
    )
    logits = _rng.normal(size=(1, 6, 1)).astype(np.float32)
    labels = np.array([1, 0, 1, 1, 255, 255])[None, :, None]
    region = np.array([1, 1, 1, 0, 1, 0])[None]
    value = compiled.value(loss, logits=logits, labels=labels, region_mask=region)
    inside = losses.DiceLoss(activation="sigmoid", **_classified)
    expected = compiled.value(inside, logits=logits[:, :3], labels=labels[:, :3])
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_focal_losses_of_a_certain_right_answer_have_no_gradient(gamma):
    # p is 1 in f32: the derivative of `(1 - p)**gamma` alone would be infinite.
    focal = losses.FocalLoss(gamma=gamma, **_classified)
    logits = np.array([[200.0, 0.0]], np.float32)
    gradient = compiled.gradient(focal, logits=logits, labels=np.array([[0]]))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("mask", [None, np.array([[1.0, 2.0, 1.0], [3.0, 1.0, 1.0]])])
def test_classes_that_no_place_has_are_left_out_if_told(mask):
    logits = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    labels = np.array([[0, 0, 1, 1], [2, 2, 2, 0]])[..., None]
    is_there = np.array([[1, 1, 0], [1, 0, 1]])
    loss = losses.DiceLoss(logits="x", labels="y", skip_absent=True)
    values = jax.jit(loss.get_values)(logits, labels)
    weights = is_there if mask is None else is_there * mask
    expected = np.average(values, weights=weights)
    get_state = jax.jit(lambda x: loss.get_state(logits=x, labels=labels, mask=mask))
    np.testing.assert_allclose(get_state(logits).mean(), expected, rtol=1e-6)


def test_classes_outside_of_the_region_are_not_there():
    logits = np.zeros((1, 4, 2), np.float32)
    labels = np.array([[0, 0, 0, 1]])[..., None]
    loss = losses.DiceLoss(logits="x", labels="y", skip_absent=True, smooth=0)
    region = np.array([[1, 1, 1, 0]])
    # Of class 0: one half of three places was found, and the other half is missing.
    found = compiled.value(loss, logits=logits, labels=labels, region_mask=region)
    assert found == pytest.approx(1 / 3)
