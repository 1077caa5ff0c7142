"""Judgements of predictions against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics

from kauldron.tracking.comparing import judgements


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    logits = rng.normal(size=(400, 5)).astype(np.float32)
    logits[np.arange(400), labels] += 1.2
    return logits, labels


def test_classes_are_judged_as_by_scikit_learn(classes):
    logits, labels = classes
    judged = judgements.judge_classes(logits, labels)
    predicted = logits.argmax(-1)
    np.testing.assert_array_equal(
        judged.confusion, sklearn.metrics.confusion_matrix(labels, predicted)
    )
    expected = sklearn.metrics.precision_recall_fscore_support(labels, predicted)
    for ours, theirs in zip(
        (judged.precision, judged.recall, judged.f1), expected[:3], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert judged.accuracy == sklearn.metrics.accuracy_score(labels, predicted)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    log_loss = sklearn.metrics.log_loss(labels, probabilities)
    assert judged.log_loss == pytest.approx(log_loss, rel=1e-9)


def test_calibration_is_that_of_scikit_learn(classes):
    logits, labels = classes
    judged = judgements.judge_classes(logits, labels)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    right = logits.argmax(-1) == labels
    accuracies, confidences = sklearn.calibration.calibration_curve(
        right, probabilities.max(-1), n_bins=10
    )
    used = judged.bin_counts > 0
    np.testing.assert_allclose(judged.bin_accuracies[used], accuracies)
    np.testing.assert_allclose(judged.bin_confidences[used], confidences)
    gaps = np.abs(accuracies - confidences)
    expected = (gaps * judged.bin_counts[used]).sum() / 400
    assert judged.calibration_error == pytest.approx(expected)


def test_examples_without_a_label_are_left_out_and_counted():
    logits = np.eye(3)[[0, 1, 2, 0]] * 9
    judged = judgements.judge_classes(logits, np.array([0, 1, 1, -1]))
    assert (judged.num_examples, judged.num_left_out) == (3, 1)
    assert judged.most_confused(5) == [(1, 2, 1)]


def test_one_logit_is_the_log_odds_of_class_one():
    logits = np.array([[-2.0], [3.0], [0.5], [-0.1]])
    labels = np.array([0, 1, 0, 1])
    judged = judgements.judge_classes(logits, labels)
    assert judged.confusion.tolist() == [[1, 1], [1, 1]]
    probabilities = 1 / (1 + np.exp(-logits[:, 0]))
    expected = sklearn.metrics.log_loss(labels, probabilities)
    assert judged.log_loss == pytest.approx(expected)


def test_a_label_that_no_logit_stands_for_is_never_right():
    judged = judgements.judge_classes(np.eye(2), np.array([0, 3]))
    assert judged.confusion.shape == (4, 4)
    assert judged.accuracy == 0.5
    assert judged.log_loss == np.inf


def test_values_are_judged_as_by_scikit_learn():
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(200, 3)) * [1, 5, 0]
    preds = targets + rng.normal(size=(200, 3)) * 0.3
    judged = judgements.judge_values(preds, targets)
    assert judged.mae == pytest.approx(
        sklearn.metrics.mean_absolute_error(targets, preds)
    )
    assert judged.rmse**2 == pytest.approx(
        sklearn.metrics.mean_squared_error(targets, preds)
    )
    assert judged.r2 == pytest.approx(sklearn.metrics.r2_score(targets, preds))
    assert judged.largest == pytest.approx(
        sklearn.metrics.max_error(targets.ravel(), preds.ravel())
    )
    preds[0] = np.nan
    assert judgements.judge_values(preds, targets).num_left_out == 1


def test_normal_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(2)
    means, scales = rng.normal(size=(20_000, 1)), rng.uniform(0.5, 2, (20_000, 1))
    targets = means + scales * rng.normal(size=(20_000, 1))
    judged = judgements.judge_scales(means, targets, scales)
    # The standard error of a share of 20,000 is at most 0.0035.
    assert judged.coverage == pytest.approx(judged.nominal, abs=0.012)
    # Entropy of a normal distribution: 1/2 + log(scale * sqrt(2 pi)).
    expected = 0.5 + np.log(scales * np.sqrt(2 * np.pi)).mean()
    assert judged.log_loss == pytest.approx(expected, abs=0.03)
    too_sure = judgements.judge_scales(means, targets, scales / 3)
    assert too_sure.coverage[2] < 0.5


def test_bounds_cover_what_is_between_them():
    targets = np.array([[1.0], [2.0], [3.0], [4.0]])
    judged = judgements.judge_bounds(
        targets, targets - 1, np.array([[1], [9], [2], [9]])
    )
    assert judged.coverage == (0.75,)
    assert judged.width == (pytest.approx((1 + 8 + 0 + 6) / 4),)
