"""Corners of single metrics: ties, absent classes, parameters, refused inputs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk

from kauldron import metrics

_rng = np.random.default_rng(0)


def _measured(metric, **inputs):
    """The value of a metric whose state is one program, as it is in an evaluation."""
    return jax.jit(lambda inputs: metric.get_state(**inputs))(inputs).compute()


def test_equal_scores_count_as_in_argmax():
    logits, labels = np.ones((3, 3)), np.array([[0], [1], [2]])
    for k, expected in [(1, 1 / 3), (2, 2 / 3), (3, 1)]:
        value = metrics.TopKAccuracy(logits="l", labels="t", k=k)(
            logits=logits, labels=labels
        )
        np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_ranking_metrics_are_exact_with_ties_in_any_batches(num_classes):
    labels = _rng.integers(num_classes, size=(60, 1))
    # Few different examples: many ties.
    rows = _rng.normal(size=(6, num_classes)).astype(np.float32)
    logits = rows[_rng.integers(6, size=60)]
    probs = np.exp(logits.astype(np.float64))
    probs /= probs.sum(-1, keepdims=True)
    one_hot = np.eye(num_classes)[labels[:, 0]]
    expected_roc = sk.roc_auc_score(one_hot, probs, average="macro")
    expected_pr = sk.average_precision_score(one_hot, probs, average="macro")
    if num_classes == 2:
        expected_pr = sk.average_precision_score(labels, probs[:, 1])
    for metric, expected in [
        (metrics.RocAuc(logits="l", labels="t"), expected_roc),
        (metrics.PrAuc(logits="l", labels="t"), expected_pr),
    ]:
        batches = [slice(0, 7), slice(7, 8), slice(8, 60)]
        states = [metric.get_state(logits=logits[b], labels=labels[b]) for b in batches]
        merged = functools.reduce(lambda a, b: a.merge(b), states)
        np.testing.assert_allclose(merged.finalize().compute(), expected, rtol=1e-12)


def test_roc_auc_leaves_out_absent_classes():
    logits = _rng.normal(size=(40, 5))
    labels = _rng.choice([0, 3, 4], size=(40, 1))
    present = np.exp(logits[:, [0, 3, 4]])
    present /= present.sum(-1, keepdims=True)
    expected = sk.roc_auc_score(labels[:, 0], present, multi_class="ovr")
    metric = metrics.RocAuc(logits="l", labels="t")
    value = metric(logits=logits, labels=labels)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_roc_auc_of_chosen_classes_ignores_the_others():
    logits, labels = _rng.normal(size=(40, 3)), _rng.integers(3, size=(40, 1))
    metric = metrics.RocAuc(logits="l", labels="t", unique_labels=(0, 2))
    keep = labels[:, 0] != 1
    difference = (logits[:, 2] - logits[:, 0])[keep]
    expected = sk.roc_auc_score(labels[keep, 0] == 2, difference)
    np.testing.assert_allclose(
        metric(logits=logits, labels=labels), expected, rtol=1e-6
    )


def test_roc_auc_of_one_class_is_undefined():
    metric = metrics.RocAuc(logits="l", labels="t")
    assert np.isnan(metric(logits=np.ones((3, 2)), labels=np.zeros((3, 1), int)))


def test_average_precision_without_positives_is_undefined():
    metric = metrics.PrAuc(logits="l", labels="t")
    assert np.isnan(metric(logits=np.ones((3, 1)), labels=np.zeros((3, 1), int)))


@pytest.mark.parametrize("scale", [60, 1000])
def test_areas_under_curves_tell_sure_scores_apart(scale):
    # Softmax gives 1 for all of them.
    odds = scale * np.array([1, 0.9, 0.8, 0.7, -0.1, 0.05], np.float32)
    labels = np.array([1, 1, 0, 0, 0, 1])[:, None]
    columns = np.stack([0 * odds, odds], axis=-1)
    for metric, score in [
        (metrics.RocAuc, sk.roc_auc_score),
        (metrics.PrAuc, sk.average_precision_score),
    ]:
        metric = metric(logits="l", labels="t")
        expected = score(labels[:, 0], odds)
        for logits in (columns, columns + 7, odds[:, None]):
            value = metric(logits=logits, labels=labels)
            np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_infinite_scores_rank_above_all_others():
    logits = np.array([[0, np.inf], [0, 5], [0, -np.inf], [1, 0]])
    labels = np.array([1, 1, 0, 0])[:, None]
    assert metrics.RocAuc(logits="l", labels="t")(logits=logits, labels=labels) == 1


def test_one_score_is_that_of_class_one():
    scores, labels = _rng.normal(size=(30, 1)), _rng.integers(2, size=(30, 1))
    for metric, oracle in [
        (metrics.RocAuc, sk.roc_auc_score),
        (metrics.PrAuc, sk.average_precision_score),
    ]:
        value = metric(logits="l", labels="t")(logits=scores, labels=labels)
        np.testing.assert_allclose(value, oracle(labels, scores), rtol=1e-6)


def test_ignored_labels_do_not_count_and_others_must_be_classes():
    metric = metrics.ConfusionMatrix(
        pred_labels="p", labels="t", num_classes=2, ignored_label=1
    )
    labels = np.array([0, 1, 0])[:, None]
    value = metric(pred_labels=np.array([0, 0, 1])[:, None], labels=labels)
    np.testing.assert_array_equal(value, [[1, 1], [0, 0]])
    with pytest.raises(
        metrics.LabelError, match=r"2 labels of `labels`.*got -1 to 255"
    ):
        metric(pred_labels=labels, labels=np.array([255, 0, -1])[:, None])
    with pytest.raises(metrics.LabelError, match=r"1 label of `pred_labels`.*got 7"):
        metric(pred_labels=np.array([0, 7, 7])[:, None], labels=labels)


@pytest.mark.parametrize("average", ["macro", "micro", "per_class"])
@pytest.mark.parametrize(
    ("metric", "score"),
    [
        (metrics.Precision, sk.precision_score),
        (metrics.Recall, sk.recall_score),
        (metrics.F1, sk.f1_score),
        (metrics.MeanIou, sk.jaccard_score),
    ],
)
def test_an_ignored_class_has_no_score_and_is_a_wrong_prediction(
    metric, score, average
):
    labels, preds = _rng.integers(3, size=(2, 40, 1))
    metric = metric(
        pred_labels="p", labels="t", num_classes=3, ignored_label=0, average=average
    )
    keep = labels[:, 0] != 0
    value = metric(pred_labels=preds, labels=labels)
    expected = score(
        labels[keep, 0],
        preds[keep, 0],
        labels=[1, 2],
        average=None if average == "per_class" else average,
    )
    if average == "per_class":
        assert list(value) == ["1", "2"]
        value = list(value.values())
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_predicting_an_ignored_label_that_is_no_class_is_wrong():
    keys = {"pred_labels": "p", "labels": "t", "num_classes": 2, "ignored_label": 255}
    batch = {
        "pred_labels": np.array([[0], [255], [1], [255]]),
        "labels": np.array([[0], [0], [1], [255]]),
    }
    # Of class 0, one of two is found; nothing else was predicted as it.
    per_class = {"average": "per_class", **keys}
    assert metrics.Recall(**per_class)(**batch) == {"0": 1 / 2, "1": 1}
    assert metrics.Precision(**per_class)(**batch) == {"0": 1, "1": 1}
    assert metrics.MeanIou(**per_class)(**batch) == {"0": 1 / 2, "1": 1}
    matrix = metrics.ConfusionMatrix(**keys)(**batch)
    np.testing.assert_array_equal(matrix, [[1, 0], [0, 1]])


def test_scores_of_classes_that_do_not_occur_are_undefined():
    labels = np.array([0, 0, 1])[:, None]
    metric = metrics.F1(pred_labels="p", labels="t", num_classes=3, average="per_class")
    value = metric(pred_labels=0 * labels, labels=labels)
    np.testing.assert_allclose(list(value.values()), [0.8, 0, np.nan])


def test_rows_with_nan_are_no_class_in_the_confusion_matrix():
    logits = np.array([[np.nan, 0], [2, 1], [0, 1]])
    keys = {"logits": "l", "labels": "t"}
    labels = np.array([0, 0, 1])[:, None]
    counts = metrics.ConfusionMatrix(**keys)(logits=logits, labels=labels)
    np.testing.assert_array_equal(counts, [[1, 0], [0, 1]])
    rows = metrics.ConfusionMatrix(normalize="true", **keys)
    np.testing.assert_array_equal(
        rows(logits=logits, labels=labels), [[0.5, 0], [0, 1]]
    )
    assert (
        metrics.Recall(average="micro", **keys)(logits=logits, labels=labels) == 2 / 3
    )


def test_fewer_classes_than_scores_are_refused():
    metric = metrics.F1(logits="preds.l", labels="t", num_classes=2)
    with pytest.raises(
        ValueError, match=r"`num_classes=2` of F1 .* 3 scores .*preds.l"
    ):
        metric(logits=np.zeros((2, 3)), labels=np.zeros((2, 1), int))


def test_classes_that_do_not_occur_are_no_part_of_the_mean():
    labels = np.array([0, 0, 3])[:, None]
    metric = metrics.MeanIou(pred_labels="p", labels="t", num_classes=10)
    assert metric(pred_labels=labels, labels=labels) == 1


@pytest.mark.parametrize("mask", [None, np.ones((1, 1, 1), bool)])
def test_pixels_are_counted_past_single_precision(mask):
    metric = metrics.Dice(pred_labels="p", labels="t", mask="m", num_classes=2)
    labels = np.zeros((1, 3, 1), int)
    state = metric.get_state(pred_labels=labels, labels=labels, mask=mask)
    assert state.counts.dtype == jnp.int32
    most = jnp.asarray([[2**31 - 1, 0, 0], [0, 0, 0]], jnp.int32)
    big = state.replace(counts=most)
    assert big.merge(state).counts[0, 0] == 2**31 + 2


def test_weights_of_one_batch_are_counted_past_single_precision():
    # After 2^16 times 256, which is 2^24, f32 adds up no single ones any more.
    half = 2**16
    metric = metrics.Dice(pred_labels="p", labels="t", mask="m", num_classes=2)

    @jax.jit
    def count():
        labels = jnp.ones((2 * half, 1), jnp.int32)
        mask = jnp.where(jnp.arange(2 * half) < half, 256.0, 1.0)[:, None]
        return metric.get_state(pred_labels=labels, labels=labels, mask=mask).counts

    assert count().max() == 2**24 + half


@pytest.mark.parametrize(
    ("norm", "expected"), [("l1", 0.3), ("l2", np.sqrt(0.13)), ("max", 0.5)]
)
def test_calibration_error_of_known_gaps(norm, expected):
    # Two bins: confidence 0.5 with accuracy 1 (gap 0.5), 0.9 with accuracy 0.8 (0.1).
    probs = np.array([[0.5, 0.4999]] * 5 + [[0.9, 0.1]] * 5)
    labels = np.array([0] * 9 + [1])[:, None]
    metric = metrics.CalibrationError(logits="l", labels="t", norm=norm)
    value = _measured(metric, logits=np.log(probs), labels=labels)
    np.testing.assert_allclose(value, expected, atol=1e-4)


def test_confidence_on_the_edge_of_two_bins_is_in_the_lower_one():
    # Confidences 1/2 (right) and 0.9 (wrong): one a bin of (0, 1/2] and (1/2, 1].
    logits = np.array([[0.0, 0.0], [np.log(9), 0.0]], np.float32)
    metric = metrics.CalibrationError(logits="l", labels="t", num_bins=2)
    value = _measured(metric, logits=logits, labels=np.array([[0], [1]]))
    np.testing.assert_allclose(value, (0.5 + 0.9) / 2, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(1, 7), (7, 1), (3, 5)])
def test_spread_of_unequal_batches_is_that_of_all_values(sizes):
    x = np.concatenate([np.arange(size) + 10.0 * size for size in sizes])
    metric = metrics.Std(values="x")
    a, b = (
        metric.get_state(values=part[:, None].astype(np.float32))
        for part in np.split(x, [sizes[0]])
    )
    np.testing.assert_allclose(a.merge(b).compute(), x.std(), rtol=1e-6)


def test_spread_survives_a_large_mean():
    # f32: the mean of squares minus the square of the mean would be noise here.
    x = (_rng.normal(size=(1000, 1)) + 10_000).astype(np.float32)
    metric = metrics.Std(values="x")

    @jax.jit
    def get_state(x):
        parts = metric.get_state(values=x[:300]), metric.get_state(values=x[300:])
        return parts[0].merge(parts[1])

    state = get_state(x)
    np.testing.assert_allclose(state.compute(), x.astype(np.float64).std(), rtol=1e-3)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.1, 1e4 / 3])
def test_constant_targets_have_no_variance_to_account_for(target):
    # In f32, the mean of seven times 0.1 is not 0.1.
    targets = np.full((7, 1), target, np.float32)
    for metric in (metrics.R2Score, metrics.ExplainedVariance):
        metric = metric(preds="p", targets="t")
        states = [metric.get_state(preds=targets + x, targets=targets) for x in (0, 1)]
        for state in (*states, states[0].merge(states[1])):
            assert np.isnan(state.compute())


def test_equal_images_have_100_decibel():
    images = np.zeros((2, 4, 4, 1))
    metric = metrics.Psnr(pred="p", target="t")
    np.testing.assert_allclose(metric(pred=images, target=images), 100, rtol=1e-6)


def test_value_range_and_clipping_of_images():
    pred, target = np.full((1, 2, 2, 1), 300.0), np.zeros((1, 2, 2, 1))
    metric = metrics.Psnr(pred="p", target="t", in_vrange=(0, 255), clip=True)
    np.testing.assert_allclose(metric(pred=pred, target=target), 0, atol=1e-5)
    rescaled = metrics.image.rescale_image(
        np.array([-1, 3]), (-1, 1), (0, 10), clip=True
    )
    np.testing.assert_allclose(rescaled, [0, 10])


def test_agreement_does_not_depend_on_group_numbers():
    labels = _rng.integers(3, size=(2, 50, 1))
    metric = metrics.Ari(
        predictions="p", labels="t", num_instances_true=3, num_instances_pred=9
    )
    assert _measured(metric, predictions=8 - labels, labels=labels) == 1


def test_agreement_of_groups_worked_out_by_hand():
    # Pairs: 2 of 15 together in both; 6 in one, 3 in the other, 6 * 3 / 15 by chance.
    labels, predictions = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2]])[..., None]
    metric = metrics.Ari(
        predictions="p", labels="t", num_instances_true=2, num_instances_pred=3
    )
    value = _measured(metric, predictions=predictions[None], labels=labels[None])
    expected = (2 - 18 / 15) / ((6 + 3) / 2 - 18 / 15)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("metric", "values", "message"),
    [
        (metrics.Precision(labels="t"), {"labels": np.zeros((2, 1), int)}, "neither"),
        (
            metrics.Recall(pred_labels="p", labels="t"),
            {"labels": np.zeros((2, 1), int), "pred_labels": np.zeros((2, 1), int)},
            "needs `num_classes`",
        ),
        (
            metrics.F1(logits="l", labels="t"),
            {"logits": np.zeros((2, 3)), "labels": np.zeros(2, int)},
            "Rearrange",
        ),
        (
            metrics.Perplexity(logits="l", labels="t"),
            {"logits": np.zeros((2, 3)), "labels": np.zeros((2, 1))},
            "integer labels",
        ),
        (
            metrics.Ssim(pred="p", target="t"),
            {"pred": np.zeros((1, 8, 20, 1)), "target": np.zeros((1, 8, 20, 1))},
            "at least 11 x 11",
        ),
        (
            metrics.SingleDimension(tensor="x", index=None),
            {"tensor": np.zeros((2, 3))},
            r"SingleDimension\(index=None\) does not fit",
        ),
        (metrics.Std(values="x"), {"values": np.float32(1)}, "at least one axis"),
        (
            metrics.MeanSquaredError(preds="a.b", targets="t"),
            {"preds": np.zeros((2, 1)), "targets": np.zeros(2)},
            r"\(2, 1\) \(key 'a.b'\)",
        ),
        (
            metrics.Ari(predictions="p", labels="t"),
            {"predictions": np.zeros((1, 2), int), "labels": np.zeros((1, 2), int)},
            "needs `num_instances_true`",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_inputs_that_do_not_fit_are_refused(metric, values, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda v: metric.get_state(**v), values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: metrics.TopKAccuracy(k=0),
        lambda: metrics.F1(average="weighted"),
        lambda: metrics.RocAuc(multi_class_mode="all"),
        lambda: metrics.CalibrationError(num_bins=0),
        lambda: metrics.ConfusionMatrix(normalize="rows"),
        lambda: metrics.Bootstrap(metric=metrics.NoopMetric(), confidence=95),
    ],
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(
    ("metric", "score"),
    [
        (metrics.Precision, sk.precision_score),
        (metrics.Recall, sk.recall_score),
        (metrics.F1, sk.f1_score),
        (metrics.Dice, sk.f1_score),
        (metrics.MeanIou, sk.jaccard_score),
    ],
)
def test_class_scores_are_averaged_as_told(metric, score, is_weighted):
    labels, preds = _rng.integers(4, size=(2, 50, 1))
    weights = _rng.random((50, 1)) if is_weighted else np.ones((50, 1))
    keys = {"pred_labels": "p", "labels": "t", "mask": "m", "num_classes": 4}
    for average in ("micro", "macro", "per_class"):
        value = metric(average=average, **keys)(
            pred_labels=preds, labels=labels, mask=weights
        )
        expected = score(
            labels[:, 0],
            preds[:, 0],
            sample_weight=weights[:, 0],
            average=None if average == "per_class" else average,
        )
        value = list(value.values()) if average == "per_class" else value
        np.testing.assert_allclose(value, expected, rtol=1e-5)  # sums of f32 weights


def test_areas_under_curves_weigh_examples():
    logits, labels = _rng.normal(size=(60, 2)), _rng.integers(2, size=(60, 1))
    weights = _rng.random((60, 1))
    difference = logits[:, 1] - logits[:, 0]
    for metric, score in [
        (metrics.RocAuc, sk.roc_auc_score),
        (metrics.PrAuc, sk.average_precision_score),
    ]:
        value = metric(logits="l", labels="t", mask="m")(
            logits=logits, labels=labels, mask=weights
        )
        expected = score(labels[:, 0], difference, sample_weight=weights[:, 0])
        np.testing.assert_allclose(value, expected, rtol=1e-5)  # f32 weights
