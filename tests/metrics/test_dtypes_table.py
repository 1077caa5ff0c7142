"""Every metric in every dtype, with every awkward input, against an oracle in f64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import special
from skimage import metrics as skimage_metrics

from kauldron import metrics
from tests.metrics import table

Member = table.Member


def _scores(num_classes):
    """Inputs with logits `[n classes]` and labels `[n 1]`."""

    def inputs(rng, n):
        logits = 2 * rng.normal(size=(n, num_classes))
        labels = rng.integers(num_classes, size=(n, 1))
        return {"logits": logits, "labels": labels}

    return inputs


def _one_column(rng, n):
    return {"logits": rng.normal(size=(n, 1)), "labels": rng.integers(2, size=(n, 1))}


def _predicted(num_classes, *axes, name="pred_labels"):
    def inputs(rng, n):
        labels = rng.integers(num_classes, size=(n, *axes, 1))
        noise = rng.integers(num_classes, size=labels.shape)
        keep = rng.random(labels.shape) < 0.6
        return {name: np.where(keep, labels, noise), "labels": labels}

    return inputs


def _multi_hot(rng, n):
    return {"logits": rng.normal(size=(n, 3)), "labels": rng.integers(2, size=(n, 3))}


def _bytes(rng, n):
    return {**_scores(3)(rng, n), "num_bytes": rng.integers(1, 6, size=(n, 1))}


def _pairs(rng, n):
    targets = rng.normal(3, 2, size=(n, 3))
    return {"preds": targets + rng.normal(0.3, 1, size=(n, 3)), "targets": targets}


def _images(size):
    def inputs(rng, n):
        pred = rng.random((n, size, size, 2))
        return {"pred": pred, "target": pred + 0.1 * rng.normal(size=pred.shape)}

    return inputs


def _tensor(name="tensor"):
    return lambda rng, n: {name: rng.normal(2, 3, size=(n, 3))}


# Oracles. `w` are the weights, of the shape of the labels if there are any.


def _best(logits):
    """Returns predicted classes `[*b 1]`, -1 where a score is NaN."""
    best = np.argmax(logits, axis=-1)
    return np.where(np.isnan(logits).any(-1), -1, best)[..., None]


def _accuracy(w, logits, labels):
    return np.average(_best(logits) == labels, weights=w)


def _top_2(w, logits, labels):
    hits = []
    for row, label in zip(logits, labels[:, 0], strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits.append(not np.isnan(row).any() and label in order[:2])
    return np.average(hits, weights=w[:, 0])


def _precision_1(w, logits, labels):
    best = _best(logits)
    hits = np.where(best < 0, 0, np.take_along_axis(labels, best, axis=-1))
    return np.average(hits, weights=w)


def _binary_accuracy(w, logits, labels):
    is_right = ((logits > 0) == labels) & ~np.isnan(logits)
    return np.average(is_right, weights=w)


def _counted(score, *, average="macro", classes=None, **options):
    """A score of scikit-learn, of the classes that occur."""

    def oracle(w, labels, logits=None, pred_labels=None):
        preds = _best(logits) if pred_labels is None else pred_labels
        y, p, w = labels[w > 0], preds[w > 0], w[w > 0]
        ids = np.unique([*y, *p[p >= 0]]) if classes is None else np.arange(classes)
        if average is not None:
            options["average"] = average
            if len(ids) == 0:
                return np.nan
        return score(y, p, labels=ids, sample_weight=w, **options)

    return oracle


def _per_class(score, num_classes):
    def oracle(w, labels, logits):
        preds = _best(logits)
        values = score(
            labels[:, 0],
            preds[:, 0],
            labels=np.arange(num_classes),
            average=None,
            sample_weight=w[:, 0],
            zero_division=0,
        )
        occurs = np.isin(np.arange(num_classes), [*labels[:, 0], *preds[:, 0]])
        values = np.where(occurs, values, np.nan)
        return {str(i): value for i, value in enumerate(values)}

    return oracle


def _confusion(w, labels, logits):
    preds, size = _best(logits)[:, 0], logits.shape[-1]
    counts = np.zeros((size, size))
    for y, p, weight in zip(labels[:, 0], preds, w[:, 0], strict=True):
        counts[y, p] += weight * (p >= 0)
    return counts


def _log_odds(logits, c):
    others = np.delete(logits, c, axis=-1)
    return logits[:, c] - special.logsumexp(others, axis=-1)


def _rank(score, w, scores, is_positive):
    """Returns a score of scikit-learn of the order of the scores; infinities have one."""
    order = np.unique(scores, return_inverse=True)[1]
    return score(is_positive, order, sample_weight=w)


def _roc(w, logits, labels):
    y, w = labels[:, 0], w[:, 0]
    classes = np.unique(y)
    if len(classes) < 2:
        return np.nan
    if logits.shape[-1] == 1:
        return _rank(sk.roc_auc_score, w, logits[:, 0], y == 1)
    present = logits[:, classes]
    areas = [
        _rank(sk.roc_auc_score, w, _log_odds(present, i), y == c)
        for i, c in enumerate(classes)
    ]
    return np.mean(areas)


def _roc_ovo(w, logits, labels):
    y, w = labels[:, 0], w[:, 0]
    classes = np.unique(y)
    present, areas = logits[:, classes], []
    for i, a in enumerate(classes):
        for b in classes[classes != a]:
            at = (y == a) | (y == b)
            odds = _log_odds(present, i)[at]
            areas.append(_rank(sk.roc_auc_score, w[at], odds, y[at] == a))
    return np.mean(areas) if areas else np.nan


def _average_precision(w, logits, labels):
    y, w, score = labels[:, 0], w[:, 0], sk.average_precision_score
    size = logits.shape[-1]
    if size <= 2:
        scores = logits[:, 0] if size == 1 else logits[:, 1] - logits[:, 0]
        return _rank(score, w, scores, y == 1) if (y == 1).any() else np.nan
    areas = [_rank(score, w, _log_odds(logits, c), y == c) for c in np.unique(y)]
    return np.mean(areas)


def _calibration(w, logits, labels):
    # In f32, as the bins: the edges are not moved by rounding.
    probs = special.softmax(logits, -1)
    confidence, right, w = probs.max(-1), probs.argmax(-1) == labels[:, 0], w[:, 0]
    index = np.ceil(confidence.astype(np.float32) * np.float32(15)).astype(int)
    gaps = 0.0
    for i in set(index):
        at = index == i
        gap = np.average(right[at], weights=w[at])
        gap -= np.average(confidence[at], weights=w[at])
        gaps += abs(gap) * w[at].sum()
    return gaps / w.sum()


def _weighted(values):
    def oracle(w, **inputs):
        result = values(**inputs)
        per_example = result.reshape(len(w), -1).mean(-1)
        return np.average(per_example, weights=w)

    return oracle


def _of_all(score, is_root=False):
    """A score of scikit-learn of all elements, weighted by example."""

    def oracle(w, preds, targets):
        w = np.broadcast_to(w[:, None], preds.shape).ravel()
        result = score(targets.ravel(), preds.ravel(), sample_weight=w)
        return np.sqrt(result) if is_root else result

    return oracle


def _std(w, values):
    w = np.broadcast_to(w[:, None], values.shape)
    mean = np.average(values, weights=w)
    return np.sqrt(np.average((values - mean) ** 2, weights=w))


def _psnr(pred, target):
    return np.array(
        [
            skimage_metrics.peak_signal_noise_ratio(t, p, data_range=1)
            for p, t in zip(pred, target, strict=True)
        ]
    )


def _ssim(pred, target):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.array(
        [
            skimage_metrics.structural_similarity(
                t, p, data_range=1, channel_axis=-1, **options
            )
            for p, t in zip(pred, target, strict=True)
        ]
    )


def _ari(w, predictions, labels):
    scores = [
        sk.adjusted_rand_score(t[at > 0], p[at > 0])
        for t, p, at in zip(labels, predictions, w, strict=True)
    ]
    return np.mean(scores)


def _nats(logits, labels):
    with np.errstate(invalid="ignore"):
        return -np.take_along_axis(special.log_softmax(logits, -1), labels, -1)


def _perplexity(w, logits, labels):
    with np.errstate(over="ignore"):
        return np.exp(np.average(_nats(logits, labels), weights=w))


def _bits_per_byte(w, logits, labels, num_bytes):
    return (_nats(logits, labels) * w).sum() / np.log(2) / (num_bytes * w).sum()


_keys: dict[str, Any] = {"labels": "t"}
_ids: dict[str, Any] = {"labels": {"labels": 3}, "nan_score": "wrong"}
_of_nan: dict[str, Any] = {"labels": {"labels": 3}}
_segments: dict[str, Any] = {
    "labels": {"labels": 21, "pred_labels": 21},
    "scores": (),
}
_pair: dict[str, Any] = {"preds": "p", "targets": "t"}
_no_ids: dict[str, Any] = {"ignored": None}
_values: dict[str, Any] = {"scores": ("preds", "targets"), **_no_ids}

MEMBERS = [
    Member(metrics.Accuracy(logits="l", **_keys), _scores(3), _accuracy, **_ids),
    Member(metrics.TopKAccuracy(logits="l", k=2, **_keys), _scores(3), _top_2, **_ids),
    Member(
        metrics.Precision1(logits="l", **_keys),
        _multi_hot,
        lambda w, logits, labels: _precision_1(w[:, None], logits, labels),
        nan_score="wrong",
        **_no_ids,
    ),
    Member(
        metrics.BinaryAccuracy(logits="l", **_keys),
        _one_column,
        _binary_accuracy,
        labels={"labels": 2},
        nan_score="wrong",
    ),
    Member(
        metrics.ConfusionMatrix(logits="l", **_keys),
        _scores(3),
        _confusion,
        of_nothing=np.zeros((3, 3)),
        **_ids,
    ),
    Member(
        metrics.Precision(logits="l", **_keys),
        _scores(3),
        _counted(sk.precision_score, zero_division=0),
        **_ids,
    ),
    Member(
        metrics.Recall(logits="l", average="per_class", **_keys),
        _scores(3),
        _per_class(sk.recall_score, 3),
        **_ids,
    ),
    Member(
        metrics.F1(logits="l", average="micro", **_keys),
        _scores(3),
        _counted(sk.f1_score, average="micro", classes=3),
        **_ids,
    ),
    Member(
        metrics.MeanIou(pred_labels="p", num_classes=21, **_keys),
        _predicted(21),
        _counted(sk.jaccard_score),
        **_segments,
    ),
    Member(
        metrics.Dice(pred_labels="p", num_classes=21, **_keys),
        _predicted(21),
        _counted(sk.f1_score),
        **_segments,
    ),
    Member(metrics.RocAuc(logits="l", **_keys), _scores(3), _roc, **_of_nan),
    Member(
        metrics.RocAuc(logits="l", **_keys), _one_column, _roc, labels={"labels": 2}
    ),
    Member(
        metrics.RocAuc(logits="l", multi_class_mode="ovo", **_keys),
        _scores(3),
        _roc_ovo,
        **_of_nan,
    ),
    Member(
        metrics.PrAuc(logits="l", **_keys),
        _scores(2),
        _average_precision,
        labels={"labels": 2},
    ),
    Member(
        metrics.PrAuc(logits="l", **_keys), _scores(3), _average_precision, **_of_nan
    ),
    Member(
        metrics.CalibrationError(logits="l", **_keys),
        _scores(3),
        _calibration,
        **_of_nan,
    ),
    Member(
        metrics.Perplexity(logits="l", **_keys),
        _scores(3),
        _perplexity,
        labels={"labels": 3},
    ),
    Member(
        metrics.BitsPerByte(logits="l", num_bytes="n", **_keys),
        _bytes,
        _bits_per_byte,
        labels={"labels": 3},
    ),
    Member(
        metrics.Ari(
            predictions="p", num_instances_true=21, num_instances_pred=21, **_keys
        ),
        _predicted(21, 2, name="predictions"),
        _ari,
        labels={"labels": 21, "predictions": 21},
        scores=(),
        ignored="ignored_ids",
        takes_weights=False,
    ),
    Member(
        metrics.MeanAbsoluteError(**_pair),
        _pairs,
        _of_all(sk.mean_absolute_error),
        **_values,
    ),
    Member(
        metrics.MeanSquaredError(**_pair),
        _pairs,
        _of_all(sk.mean_squared_error),
        **_values,
    ),
    Member(
        metrics.RootMeanSquaredError(**_pair),
        _pairs,
        _of_all(sk.mean_squared_error, is_root=True),
        **_values,
    ),
    Member(metrics.R2Score(**_pair), _pairs, _of_all(sk.r2_score), **_values),
    Member(
        metrics.ExplainedVariance(**_pair),
        _pairs,
        _of_all(sk.explained_variance_score),
        **_values,
    ),
    Member(
        metrics.Std(values="x"),
        _tensor("values"),
        _std,
        scores=("values",),
        **_no_ids,
    ),
    Member(
        metrics.SingleDimension(tensor="x", index=-3),
        _tensor(),
        _weighted(lambda tensor: tensor[:, 0]),
        scores=("tensor",),
        **_no_ids,
    ),
    Member(
        metrics.Norm(tensor="x"),
        _tensor(),
        _weighted(lambda tensor: np.linalg.norm(tensor, axis=-1)),
        scores=("tensor",),
        **_no_ids,
    ),
    Member(
        metrics.Norm(tensor="x", axis=None, ord=3, aggregation_type="concat"),
        _tensor(),
        lambda w, tensor: np.linalg.norm(tensor.ravel(), 3),
        scores=("tensor",),
        of_nothing=0,
        takes_mask=False,
        **_no_ids,
    ),
    Member(
        metrics.GlobalNorm(tree="x"),
        _tensor("tree"),
        lambda w, tree: np.linalg.norm(tree),
        scores=("tree",),
        of_nothing=0,
        takes_mask=False,
        **_no_ids,
    ),
    Member(
        metrics.Psnr(pred="p", target="t"),
        _images(11),
        _weighted(_psnr),
        scores=("pred", "target"),
        rtol=1e-4,  # f32: -10 log10 of a mean of squares of small differences
        **_no_ids,
    ),
    Member(
        metrics.Ssim(pred="p", target="t"),
        _images(11),
        _weighted(_ssim),
        scores=("pred", "target"),
        rtol=1e-4,  # f32: variances are differences of blurred squares
        **_no_ids,
    ),
    Member(
        metrics.TreeReduce(metric=metrics.Std(values="x")),
        _tensor("values"),
        _std,
        scores=("values",),
        **_no_ids,
    ),
]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_dtype_and_awkward_input_gives_what_the_oracle_gives(member):
    problems = table.mismatches(member)
    assert not problems, "\n".join(problems)


def test_every_public_metric_is_in_the_table():
    public = {
        name
        for name in metrics.__all__
        if isinstance(member := getattr(metrics, name), type)
        and issubclass(member, metrics.Metric)
    }
    # Tested by themselves: what takes a metric, texts, features of networks, amounts.
    wrappers = {"Bootstrap", "NoopMetric", "SkipIfMissing", "SliceBy", "TreeMap"}
    texts = {"Bleu", "CharErrorRate", "EditDistance", "Rouge", "WordErrorRate"}
    others = {"Fid", "FrechetDistance", "LpipsVgg", "Throughput"}
    bases = {"Metric", "TextMetric"}
    named = wrappers | texts | others | bases
    assert public - named == {member.name for member in MEMBERS}
