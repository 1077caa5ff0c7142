"""Every loss keeps the contract of metrics and equals an independent computation."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from scipy import special, stats
from scipy.ndimage import uniform_filter

from kauldron import losses
from tests.metrics import contract


def _mean(values_of):
    """Returns the oracle of a loss from a function that gives its values."""

    @functools.wraps(values_of)
    def oracle(m, **inputs):
        values = np.asarray(values_of(**inputs))
        if m is None:
            return values.mean()
        m = m.reshape(*m.shape, *(1,) * (values.ndim - m.ndim))
        return np.average(values, weights=np.broadcast_to(m, values.shape))

    return oracle


def _normal(*names, shape=(4,)):
    return lambda rng, n: {
        name: rng.normal(size=(n, *shape)).astype(np.float32) for name in names
    }


def _classes(rng, n):
    logits = 2 * rng.normal(size=(n, 5)).astype(np.float32)
    return {"logits": logits, "labels": rng.integers(5, size=(n, 1))}


def _binary(rng, n):
    logits = 2 * rng.normal(size=(n, 3)).astype(np.float32)
    return {"logits": logits, "labels": rng.integers(2, size=(n, 3))}


def _probabilities(name):
    def inputs(rng, n):
        probs = rng.dirichlet(np.ones(4), size=n).astype(np.float32)
        return {**_normal("logits")(rng, n), name: probs}

    return inputs


def _regions(rng, n):
    logits = rng.normal(size=(n, 5, 6, 3)).astype(np.float32)
    return {"logits": logits, "labels": rng.integers(3, size=(n, 5, 6, 1))}


def _ranked(rng, n):
    logits = rng.normal(size=(n, 6)).astype(np.float32)
    return {"logits": logits, "labels": rng.integers(3, size=(n, 6))}


# Oracles: values of each element.


def _huber(preds, targets):
    return special.huber(0.7, preds - targets)


def _cosine(preds, targets):
    norms = np.linalg.norm(preds, axis=-1) * np.linalg.norm(targets, axis=-1)
    return ((preds * targets).sum(-1) / norms)[:, None]


def _nats(logits, labels):
    return -np.take_along_axis(special.log_softmax(logits, -1), labels, -1)


def _smoothed(logits, labels):
    target = 0.9 * np.eye(5)[labels[:, 0]] + 0.1 / 5
    return -(target * special.log_softmax(logits, -1)).sum(-1)[:, None]


def _binary_nats(logits, labels):
    p = special.expit(logits)
    return -(labels * np.log(p) + (1 - labels) * np.log1p(-p))


def _focal(logits, labels):
    nats = _nats(logits, labels)
    return (1 - np.exp(-nats)) ** 1.5 * nats


def _sigmoid_focal(logits, labels):
    nats = _binary_nats(logits, labels)
    share = np.where(labels == 1, 0.25, 0.75)
    return share * (1 - np.exp(-nats)) ** 2 * nats


def _multiclass_hinge(logits, labels):
    own = np.take_along_axis(logits, labels, -1)
    others = np.where(np.eye(5)[labels[:, 0]] == 1, -np.inf, logits)
    return np.maximum(0, 1 + others.max(-1, keepdims=True) - own)


def _distillation(logits, targets):
    p, q = special.softmax(targets / 2, -1), special.softmax(logits / 2, -1)
    return stats.entropy(p, q, axis=-1)[:, None]


def _gaussian_kl(mean, logvar):
    # Monte Carlo free: the integral of p log(p / q) of normal densities, by quadrature.
    x = np.linspace(-30, 30, 20001)[:, None, None]
    p = stats.norm.logpdf(x, mean, np.exp(logvar / 2))
    integrand = np.exp(p) * (p - stats.norm.logpdf(x))
    return np.trapezoid(integrand, x[:, 0, 0], axis=0).sum(-1, keepdims=True)


def _triplet(anchors, positives, negatives):
    near = np.linalg.norm(anchors - positives, axis=-1)
    far = np.linalg.norm(anchors - negatives, axis=-1)
    return np.maximum(0, near - far + 1)[:, None]


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _info_nce(m, queries, positives):
    keep = np.ones(len(queries), bool) if m is None else m[:, 0]
    logits = _unit(queries[keep]) @ _unit(positives[keep]).T / 0.1
    both = [-np.diagonal(special.log_softmax(x, -1)) for x in (logits, logits.T)]
    return np.mean(both)


def _nt_xent(m, view1, view2):
    keep = np.ones(len(view1), bool) if m is None else m[:, 0]
    views = _unit(np.concatenate([view1[keep], view2[keep]]))
    size, values = len(views), []
    for i in range(size):
        others = [j for j in range(size) if j != i]
        logits = views[i] @ views[others].T / 0.5
        partner = others.index((i + size // 2) % size)
        values.append(-special.log_softmax(logits)[partner])
    return np.mean(values)


def _ranking(logits, labels):
    values = []
    for s, y in zip(logits, labels, strict=True):
        pairs = [(i, j) for i, j in itertools.permutations(range(6), 2) if y[i] > y[j]]
        terms = [np.log1p(np.exp(s[j] - s[i])) for i, j in pairs]
        values.append([np.mean(terms) if terms else 0])
    return values


def _tversky(logits, labels, alpha, beta, smooth):
    p, t = special.softmax(logits, -1), np.eye(3)[labels[..., 0]]
    tp = (p * t).sum((1, 2))
    fp, fn = (p * (1 - t)).sum((1, 2)), ((1 - p) * t).sum((1, 2))
    return 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)


def _generalized_dice(logits, labels):
    p, t = special.softmax(logits, -1), np.eye(3)[labels[..., 0]]
    size = t.sum((1, 2))
    w = np.divide(1, size**2, out=np.zeros_like(size), where=size > 0)
    both, all_ = (w * (p * t).sum((1, 2))).sum(-1), (w * (p + t).sum((1, 2))).sum(-1)
    return 1 - 2 * (both / all_)[:, None]


def _total_variation(images):
    down = np.abs(images[:, 1:] - images[:, :-1]).mean((1, 2, 3))
    across = np.abs(images[:, :, 1:] - images[:, :, :-1]).mean((1, 2, 3))
    return (down + across)[:, None]


def _correlation(preds, targets):
    values = [
        [1 - np.corrcoef(p[..., c].ravel(), t[..., c].ravel())[0, 1] for c in range(2)]
        for p, t in zip(preds, targets, strict=True)
    ]
    return np.array(values)


def _local_correlation(preds, targets):
    def blur(x):
        return uniform_filter(x, size=(1, 3, 3, 1))[:, 1:-1, 1:-1]

    mean_p, mean_t = blur(preds), blur(targets)
    covariance = blur(preds * targets) - mean_p * mean_t
    var_p, var_t = blur(preds**2) - mean_p**2, blur(targets**2) - mean_t**2
    return 1 - (covariance / np.sqrt(var_p * var_t + 1e-8)).mean((1, 2))


def Case(loss, inputs, values_of, **options):
    oracle = options.pop("oracle", None) or _mean(values_of)
    return contract.Case(loss, inputs, oracle, **options)


_pair = {"preds": "p", "targets": "t"}
_classified = {"logits": "l", "labels": "t"}
_differences = _normal("preds", "targets")
_pictures = _normal("preds", "targets", shape=(6, 5, 2))

CASES = [
    Case(losses.Value(values="x"), _normal("values"), lambda values: values),
    Case(
        losses.AbsoluteValue(values="x"), _normal("values"), lambda values: abs(values)
    ),
    Case(losses.L1(**_pair), _differences, lambda preds, targets: abs(preds - targets)),
    Case(
        losses.L2(**_pair), _differences, lambda preds, targets: (preds - targets) ** 2
    ),
    Case(losses.Huber(delta=0.7, **_pair), _differences, _huber),
    Case(
        losses.NegativeCosineSimilarity(**_pair),
        _differences,
        lambda preds, targets: -_cosine(preds, targets),
    ),
    Case(
        losses.CosineDistance(**_pair),
        _differences,
        lambda preds, targets: 1 - _cosine(preds, targets),
    ),
    Case(
        losses.SoftmaxCrossEntropy(**_classified),
        _probabilities("labels"),
        lambda logits, labels: (
            -(labels * special.log_softmax(logits, -1)).sum(-1)[:, None]
        ),
    ),
    Case(losses.SoftmaxCrossEntropyWithIntLabels(**_classified), _classes, _nats),
    Case(
        losses.SoftmaxCrossEntropyWithIntLabels(label_smoothing=0.1, **_classified),
        _classes,
        _smoothed,
    ),
    Case(losses.SigmoidBinaryCrossEntropy(**_classified), _binary, _binary_nats),
    Case(
        losses.SigmoidBinaryCrossEntropy(label_smoothing=0.2, **_classified),
        _binary,
        lambda logits, labels: _binary_nats(logits, 0.8 * labels + 0.1),
    ),
    Case(losses.FocalLoss(gamma=1.5, **_classified), _classes, _focal),
    Case(losses.SigmoidFocalLoss(alpha=0.25, **_classified), _binary, _sigmoid_focal),
    Case(
        losses.Hinge(**_classified),
        _binary,
        lambda logits, labels: np.maximum(0, 1 - (2 * labels - 1) * logits),
    ),
    Case(losses.MulticlassHinge(**_classified), _classes, _multiclass_hinge),
    Case(
        losses.KLDivergence(logits="l", targets="t"),
        _probabilities("targets"),
        lambda logits, targets: stats.entropy(
            targets, special.softmax(logits, -1), axis=-1
        )[:, None],
    ),
    Case(
        losses.KLDivergence(
            logits="l", targets="t", targets_are_logits=True, temperature=2.0
        ),
        _normal("logits", "targets"),
        _distillation,
    ),
    Case(
        losses.GaussianKL(mean="m", logvar="v"), _normal("mean", "logvar"), _gaussian_kl
    ),
    Case(
        losses.TripletMargin(anchors="a", positives="p", negatives="n"),
        _normal("anchors", "positives", "negatives"),
        _triplet,
    ),
    Case(
        losses.InfoNCE(queries="q", positives="p", is_symmetric=True),
        _normal("queries", "positives"),
        None,
        oracle=_info_nce,
        is_mean_of_examples=False,
    ),
    Case(
        losses.NTXent(view1="a", view2="b", temperature=0.5),
        _normal("view1", "view2"),
        None,
        oracle=_nt_xent,
        is_mean_of_examples=False,
    ),
    Case(losses.PairwiseRanking(**_classified), _ranked, _ranking),
    Case(
        losses.TverskyLoss(alpha=0.3, beta=0.7, **_classified),
        _regions,
        functools.partial(_tversky, alpha=0.3, beta=0.7, smooth=1),
    ),
    Case(
        losses.DiceLoss(smooth=0.0, **_classified),
        _regions,
        functools.partial(_tversky, alpha=0.5, beta=0.5, smooth=0),
    ),
    Case(
        losses.TotalVariation(images="x"),
        _normal("images", shape=(5, 4, 2)),
        _total_variation,
    ),
    Case(losses.GeneralizedDiceLoss(**_classified), _regions, _generalized_dice),
    Case(losses.NormalizedCrossCorrelation(**_pair), _pictures, _correlation),
    Case(
        losses.NormalizedCrossCorrelation(window=3, **_pair),
        _pictures,
        _local_correlation,
        f32_rtol=1e-4,  # variances in windows of 9 pixels are small differences
    ),
]


# All losses have one class of states; `test_weights` merges it.
@contract.laws(CASES, without="test_merging_inside_jit_equals_merging_outside")
class TestContract:
    pass


def test_every_public_loss_is_in_the_list():
    public = {
        name
        for name in losses.__all__
        if isinstance(member := getattr(losses, name), type)
        and issubclass(member, losses.Loss)
    }
    assert public - {"Loss"} == {case.name for case in CASES}
