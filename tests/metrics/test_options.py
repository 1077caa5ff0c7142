"""Options of metrics, and their defaults, which change what is measured."""

from __future__ import annotations

import numpy as np
from skimage import metrics as skimage_metrics

from kauldron import metrics

_rng = np.random.default_rng(0)


def test_the_label_is_among_the_five_highest_scores_unless_told_otherwise():
    # Scores fall with the class: class i has rank i.
    logits = np.tile(-np.arange(8, dtype=np.float32), (4, 1))
    labels = np.array([0, 4, 5, 7])[:, None]
    keys = {"logits": "l", "labels": "t"}
    assert metrics.TopKAccuracy(**keys)(logits=logits, labels=labels) == 2 / 4
    assert metrics.TopKAccuracy(k=6, **keys)(logits=logits, labels=labels) == 3 / 4


def test_confidences_are_put_into_fifteen_bins_unless_told_otherwise():
    # Both are between 9/15 and 10/15, where 14 or 16 bins would tell them apart.
    confidence = np.array([0.61, 0.65])
    logits = np.stack([np.log(confidence / (1 - confidence)), [0, 0]], axis=-1)
    metric = metrics.CalibrationError(logits="l", labels="t")
    value = metric(logits=logits.astype(np.float32), labels=np.array([[0], [1]]))
    np.testing.assert_allclose(value, 0.63 - 1 / 2, rtol=1e-6)


def test_structural_similarity_is_that_of_the_range_window_and_constants_told():
    target = _rng.random((1, 12, 13, 1)).astype(np.float32)
    pred = target + 0.1 * _rng.normal(size=target.shape).astype(np.float32)
    options = {"data_range": 255, "K1": 0.2, "K2": 0.05, "sigma": 1.0}
    expected = skimage_metrics.structural_similarity(
        255.0 * target[0, ..., 0],
        255.0 * pred[0, ..., 0],
        gaussian_weights=True,  # as wide as 3.5 standard deviations: 9 pixels
        use_sample_covariance=False,
        **options,
    )
    metric = metrics.Ssim(
        pred="p",
        target="t",
        in_vrange=(0, 255),
        filter_size=9,
        filter_sigma=1.0,
        k1=0.2,
        k2=0.05,
    )
    value = metric(pred=255 * pred, target=255 * target)
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_images_may_be_clipped_to_other_bounds_than_their_range():
    pred = np.full((1, 2, 2, 1), 3.0, np.float32)
    metric = metrics.Psnr(pred="p", target="t", clip=(0.0, 2.0))
    # Clipped to 2, not to 1: a difference of 2 of a range of 1.
    value = metric(pred=pred, target=0 * pred)
    np.testing.assert_allclose(value, -20 * np.log10(2), rtol=1e-6)


def test_spread_counts_past_single_precision():
    # In f32, 2^24 + 1 is 2^24. The mean of 2^24 zeros and 2^14 ones hardly moves.
    size = 2**24
    many = metrics.Std.State(
        count=np.float32(size), mean=np.float32(0), sum_of_squares=np.float32(0)
    )
    one = metrics.Std.State(
        count=np.float32(1), mean=np.float32(1), sum_of_squares=np.float32(0)
    )
    merged = many.merge(one).merge(one).merge(one)
    assert merged.count == size + 3
    share = 3 / (size + 3)
    expected = np.sqrt(share * (1 - share))
    np.testing.assert_allclose(merged.compute(), expected, rtol=1e-12)


def test_distance_of_features_counts_past_single_precision():
    # As above: 2^24 features at 0 and three at 1, against as many at 0.
    size = 2**24
    metric = metrics.FrechetDistance(preds="p", targets="t")
    zero = np.zeros((1, 1), np.float32)
    merged = metric.get_state(preds=zero, targets=zero)
    merged = merged.replace(
        preds=merged.preds.replace(count=np.float32(size)),
        targets=merged.targets.replace(count=np.float32(size)),
    )
    for _ in range(3):
        merged = merged.merge(metric.get_state(preds=zero + 1, targets=zero))
    share = 3 / (size + 3)
    variance = (size + 3) * share * (1 - share) / (size + 2)
    value = merged.finalize().compute()
    np.testing.assert_allclose(value, share**2 + variance, rtol=1e-12)


def test_bytes_of_ignored_tokens_do_not_count():
    logits = np.zeros((3, 4), np.float32)  # two bits a token
    metric = metrics.BitsPerByte(logits="l", labels="t", num_bytes="n", ignored_label=0)
    value = metric(
        logits=logits,
        labels=np.array([[0], [1], [2]]),
        num_bytes=np.array([[100], [3], [1]]),
    )
    np.testing.assert_allclose(value, (2 + 2) / (3 + 1), rtol=1e-6)


def test_an_interval_is_of_a_thousand_draws_unless_told_otherwise(caplog):
    # Without positives, the area is not defined: so it is in some draws of three.
    metric = metrics.Bootstrap(metric=metrics.PrAuc(logits="l", labels="t"))
    metric(
        logits=np.array([[0.0], [1.0], [2.0]], np.float32),
        labels=np.array([[0], [0], [1]]),
    )
    assert "of 1000 draws" in caplog.text


def test_an_entry_is_taken_from_the_last_axis_of_any_number_of_them():
    x = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    for index, expected in [(2, 6.5), (-3, 4.5)]:
        assert metrics.SingleDimension(tensor="x", index=index)(tensor=x) == expected
