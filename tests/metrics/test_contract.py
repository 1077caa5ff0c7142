"""Every metric keeps the contract and equals an independent computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn.metrics as sk
from scipy import linalg, special
from skimage import metrics as skimage_metrics

from kauldron import metrics
from tests.metrics import contract, test_networks, test_texts, test_throughput

Case = contract.Case


def _logits(rng, n, num_classes=5, **more):
    return {
        "logits": 2 * rng.normal(size=(n, num_classes)).astype(np.float32),
        "labels": rng.integers(num_classes, size=(n, 1)),
    }


def _tokens(rng, n):
    return {
        "logits": rng.normal(size=(n, 3, 7)).astype(np.float32),
        "labels": rng.integers(7, size=(n, 3, 1)),
    }


def _bytes(rng, n):
    return {**_tokens(rng, n), "num_bytes": rng.integers(1, 6, size=(n, 3, 1))}


def _multi_hot(rng, n):
    logits = rng.normal(size=(n, 4)).astype(np.float32)
    return {"logits": logits, "labels": rng.integers(2, size=(n, 4))}


def _values(rng, n):
    targets = rng.normal(3, 2, size=(n, 3)).astype(np.float32)
    noise = rng.normal(0.3, 1, size=(n, 3)).astype(np.float32)
    return {"preds": targets + noise, "targets": targets}


def _segments(rng, n):
    labels = rng.integers(4, size=(n, 6, 5, 1))
    noise = rng.integers(4, size=labels.shape)
    keep = rng.random(labels.shape) < 0.6
    return {"pred_labels": np.where(keep, labels, noise), "labels": labels}


def _groups(rng, n):
    segments = _segments(rng, n)
    return {"predictions": segments["pred_labels"], "labels": segments["labels"]}


def _images(rng, n):
    pred = rng.random((n, 14, 13, 2)).astype(np.float32)
    noise = 0.1 * rng.normal(size=pred.shape).astype(np.float32)
    return {"pred": pred, "target": pred + noise}


def _array(name, shape):
    return lambda rng, n: {name: rng.normal(2, 3, size=(n, *shape)).astype(np.float32)}


# Oracles. `m` is the mask or None.


def _weights(m: Any, like: np.ndarray) -> np.ndarray:
    if m is None:
        return np.ones(like.shape)
    m = m.reshape(*m.shape, *(1,) * (like.ndim - m.ndim))
    return np.broadcast_to(m, like.shape).astype(np.float64)


def _average(values: np.ndarray, m: Any) -> np.ndarray:
    return np.average(values, weights=_weights(m, values))


def _accuracy(m, logits, labels):
    weights = _weights(m, labels).ravel()
    return sk.accuracy_score(
        labels.ravel(), logits.argmax(-1).ravel(), sample_weight=weights
    )


def _top_k(m, logits, labels):
    return sk.top_k_accuracy_score(
        labels[:, 0],
        logits,
        k=2,
        labels=range(5),
        sample_weight=_weights(m, labels)[:, 0],
    )


def _counted(score, **options):
    def oracle(m, labels, logits=None, pred_labels=None):
        preds = pred_labels if logits is None else logits.argmax(-1)
        result = score(
            labels.ravel(),
            preds.ravel(),
            sample_weight=_weights(m, labels).ravel(),
            **options,
        )
        if np.ndim(result) == 1:
            return {str(i): x for i, x in enumerate(result)}
        return result

    return oracle


def _roc(**options):
    def oracle(m, logits, labels):
        at = np.ones(len(labels), bool) if m is None else m[:, 0]
        probs, labels = special.softmax(logits, -1)[at], labels[at, 0]
        if probs.shape[-1] == 2:
            probs = probs[:, 1]
        return sk.roc_auc_score(labels, probs, **options)

    return oracle


def _average_precision(m, logits, labels):
    probs, weights = special.softmax(logits, -1), _weights(m, labels)[:, 0]
    return np.mean(
        [
            sk.average_precision_score(
                labels[:, 0] == c, probs[:, c], sample_weight=weights
            )
            for c in range(logits.shape[-1])
        ]
    )


def _calibration(m, logits, labels):
    probs, weights = special.softmax(logits, -1), _weights(m, labels)[:, 0]
    confidence, right = probs.max(-1), probs.argmax(-1) == labels[:, 0]
    total = 0
    for low in np.arange(15) / 15:
        at = (low < confidence) & (confidence <= low + 1 / 15) & (weights > 0)
        if at.any():
            total += abs(right[at].mean() - confidence[at].mean()) * at.sum()
    return total / weights.sum()


def _regression(score, root=False):
    def oracle(m, preds, targets):
        weights = _weights(m, preds).ravel()
        result = score(targets.ravel(), preds.ravel(), sample_weight=weights)
        return np.sqrt(result) if root else result

    return oracle


def _std(m, values):
    mean = _average(values, m)
    return np.sqrt(_average((values - mean) ** 2, m))


def _psnr(m, pred, target):
    values = [
        skimage_metrics.peak_signal_noise_ratio(t, p, data_range=1)
        for p, t in zip(pred, target, strict=True)
    ]
    return _average(np.array(values)[:, None], m)


def _ssim(m, pred, target):
    values = [
        skimage_metrics.structural_similarity(
            t,
            p,
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for p, t in zip(pred, target, strict=True)
    ]
    return _average(np.array(values)[:, None], m)


def _ari(m, predictions, labels):
    keep = np.ones(len(labels), bool) if m is None else m[:, 0, 0, 0]
    scores = [
        sk.adjusted_rand_score(t[t != 0], p[t != 0])
        for t, p in zip(labels[keep], predictions[keep], strict=True)
    ]
    return np.mean(scores)


def _nats(logits, labels):
    return -np.take_along_axis(special.log_softmax(logits, -1), labels, -1)


def _bits_per_byte(m, logits, labels, num_bytes):
    weights = _weights(m, labels)
    nats = (_nats(logits, labels) * weights).sum()
    return nats / np.log(2) / (num_bytes * weights).sum()


def _frechet(m, preds, targets):
    keep = np.ones(len(preds), bool) if m is None else m[:, 0]
    p, t = preds[keep], targets[keep]
    c1, c2 = np.cov(p, rowvar=False), np.cov(t, rowvar=False)
    root = linalg.sqrtm(c1 @ c2).real
    return np.sum((p.mean(0) - t.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * root)


def _sliced(m, logits, labels, by):
    m = np.ones(by.shape, bool) if m is None else m
    return {
        name: _accuracy(m & (by == value), logits, labels)
        for name, value in [("a", 0), ("b", 2)]
    }


_keys = {"labels": "t"}
_pair = {"preds": "p", "targets": "t"}
_count_macro = {"average": "macro", "zero_division": 0}
_accuracy_metric = metrics.Accuracy(logits="l", **_keys)

CASES = [
    Case(_accuracy_metric, _logits, _accuracy),
    Case(metrics.TopKAccuracy(logits="l", k=2, **_keys), _logits, _top_k),
    Case(
        metrics.Precision1(logits="l", **_keys),
        _multi_hot,
        lambda m, logits, labels: _average(
            np.take_along_axis(labels, logits.argmax(-1)[:, None], -1), m
        ),
    ),
    Case(
        metrics.BinaryAccuracy(logits="l", **_keys),
        _multi_hot,
        lambda m, logits, labels: _average((logits > 0) == labels, m),
    ),
    Case(
        metrics.ConfusionMatrix(logits="l", **_keys),
        lambda rng, n: _logits(rng, n, 3),
        _counted(sk.confusion_matrix),
    ),
    Case(
        metrics.ConfusionMatrix(logits="l", normalize="true", **_keys),
        lambda rng, n: _logits(rng, n, 3),
        _counted(sk.confusion_matrix, normalize="true"),
    ),
    Case(
        metrics.Precision(logits="l", **_keys),
        _logits,
        _counted(sk.precision_score, **_count_macro),
    ),
    Case(
        metrics.Recall(logits="l", average="per_class", **_keys),
        lambda rng, n: _logits(rng, n, 3),
        _counted(sk.recall_score, average=None),
    ),
    Case(
        metrics.F1(logits="l", **_keys), _logits, _counted(sk.f1_score, **_count_macro)
    ),
    Case(
        metrics.F1(logits="l", average="micro", **_keys),
        _logits,
        _counted(sk.f1_score, average="micro"),
    ),
    Case(
        metrics.MeanIou(pred_labels="p", num_classes=4, **_keys),
        _segments,
        _counted(sk.jaccard_score, average="macro"),
        mask_shape=(1, 1, 1),
    ),
    Case(
        metrics.Dice(pred_labels="p", num_classes=4, average="per_class", **_keys),
        _segments,
        _counted(sk.f1_score, average=None),
        mask_shape=(6, 5, 1),
    ),
    Case(
        metrics.RocAuc(logits="l", **_keys),
        lambda rng, n: _logits(rng, n, 3),
        _roc(multi_class="ovr"),
    ),
    Case(
        metrics.RocAuc(logits="l", multi_class_mode="ovo", **_keys),
        lambda rng, n: _logits(rng, n, 3),
        _roc(multi_class="ovo"),
    ),
    Case(
        metrics.RocAuc(logits="l", **_keys), lambda rng, n: _logits(rng, n, 2), _roc()
    ),
    Case(
        metrics.PrAuc(logits="l", **_keys),
        lambda rng, n: _logits(rng, n, 3),
        _average_precision,
    ),
    Case(metrics.CalibrationError(logits="l", **_keys), _logits, _calibration),
    Case(
        metrics.MeanAbsoluteError(**_pair), _values, _regression(sk.mean_absolute_error)
    ),
    Case(
        metrics.MeanSquaredError(**_pair), _values, _regression(sk.mean_squared_error)
    ),
    Case(
        metrics.RootMeanSquaredError(**_pair),
        _values,
        _regression(sk.mean_squared_error, root=True),
    ),
    Case(metrics.R2Score(**_pair), _values, _regression(sk.r2_score)),
    Case(
        metrics.ExplainedVariance(**_pair),
        _values,
        _regression(sk.explained_variance_score),
    ),
    Case(metrics.Std(values="x"), _array("values", (3, 2)), _std, mask_shape=(3, 1)),
    Case(
        metrics.SingleDimension(tensor="x", index=1),
        _array("tensor", (3,)),
        lambda m, tensor: _average(tensor[:, 1], m),
        mask_shape=(),
    ),
    Case(
        metrics.Norm(tensor="x"),
        _array("tensor", (3, 4)),
        lambda m, tensor: _average(np.linalg.norm(tensor, axis=-1), m),
    ),
    Case(
        metrics.Norm(tensor="x", axis=None, aggregation_type="concat"),
        _array("tensor", (3, 4)),
        lambda m, tensor: np.linalg.norm(tensor),
        mask_shape=None,
    ),
    Case(
        metrics.GlobalNorm(tree="x"),
        _array("tree", (3, 4)),
        lambda m, tree: np.linalg.norm(tree),
        mask_shape=None,
        is_mean_of_examples=False,
    ),
    Case(metrics.FrechetDistance(**_pair), _values, _frechet, f32_rtol=1e-4),
    # f32: -10 log10 of a mean of squares of small differences
    Case(metrics.Psnr(pred="p", target="t"), _images, _psnr, f32_rtol=1e-4),
    # f32: variances are differences of blurred squares
    Case(metrics.Ssim(pred="p", target="t"), _images, _ssim, f32_rtol=1e-4),
    Case(
        metrics.Ari(
            predictions="p",
            num_instances_true=4,
            num_instances_pred=4,
            ignored_ids=0,
            **_keys,
        ),
        _groups,
        _ari,
        mask_shape=(1, 1, 1),
    ),
    Case(
        metrics.Perplexity(logits="l", **_keys),
        _tokens,
        lambda m, logits, labels: np.exp(_average(_nats(logits, labels), m)),
        mask_shape=(3, 1),
    ),
    Case(
        metrics.BitsPerByte(logits="l", num_bytes="n", **_keys),
        _bytes,
        _bits_per_byte,
        mask_shape=(3, 1),
    ),
    Case(
        metrics.SliceBy(metric=_accuracy_metric, by="d", slices={"a": 0, "b": 2}),
        lambda rng, n: {**_logits(rng, n), "by": np.arange(n)[:, None] % 3},
        _sliced,
    ),
    Case(
        metrics.Bootstrap(metric=metrics.Norm(tensor="x"), num_resamples=20),
        _array("tensor", (3,)),
        has_order=True,  # which examples are drawn depends on their order
        mask_shape=None,
    ),
    Case(
        metrics.TreeReduce(metric=metrics.Std(values="x")),
        _array("values", (2,)),
        _std,
    ),
]


@contract.laws(CASES)
class TestContract:
    pass


def test_every_public_metric_is_in_the_list():
    # test_wrappers, test_networks, test_texts
    exempt = {"Metric", "NoopMetric", "SkipIfMissing", "TreeMap", "Fid", "TextMetric"}
    public = {
        name
        for name in metrics.__all__
        if isinstance(member := getattr(metrics, name), type)
        and issubclass(member, metrics.Metric)
    }
    others = [module.CASES for module in (test_networks, test_texts, test_throughput)]
    assert public - exempt == {case.name for case in sum(others, CASES)}
