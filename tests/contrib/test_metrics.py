"""Metrics of contrib against scikit-learn, SciPy, scikit-image and NumPy f64."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.spatial import transform
from sklearn import metrics as sk

from kauldron import kd, kontext

RNG = np.random.default_rng(1)
M = kd.contrib.metrics


def _merged(metric, batches):
    """The value of several batches, merged on the host as an evaluator does."""
    state, get_state = metric.empty(), jax.jit(lambda batch: metric.get_state(**batch))
    for batch in batches:
        state = state.merge(get_state(batch))
    return state.finalize().compute()


def _halves(**arrays):
    """Two batches of unequal size."""
    n = len(next(iter(arrays.values()))) // 3
    return [
        {k: v[:n] for k, v in arrays.items()},
        {k: v[n:] for k, v in arrays.items()},
    ]


def test_joint_accuracy_needs_every_decision_of_an_example():
    metric = M.JointAccuracy(logits="x", labels="y")
    logits = np.eye(3)[[[0, 1], [2, 2], [1, 0]]]  # [3 examples, 2 decisions, 3]
    labels = np.array([[0, 1], [2, 0], [1, 0]])[..., None]
    assert metric(logits=logits, labels=labels) == pytest.approx(2 / 3)
    masked = M.JointAccuracy(logits="x", labels="y", mask="m")
    mask = np.array([[1, 1], [1, 0], [0, 0]])  # the third does not count at all
    assert masked(logits=logits, labels=labels, mask=mask) == pytest.approx(1.0)
    mask = np.array([[1, 1], [1, 1], [0, 0]])  # and is in no mean
    assert masked(logits=logits, labels=labels, mask=mask) == pytest.approx(1 / 2)
    assert metric(logits=np.full_like(logits, np.nan), labels=labels) == 0
    with pytest.raises(ValueError, match=r"i\[\*b n 1\]"):
        metric(logits=logits, labels=labels[..., 0])


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_multilabel_average_precision_is_that_of_scikit_learn(scale):
    logits = (scale * RNG.integers(-3, 4, (60, 5))).astype(np.float32)  # with ties
    labels = RNG.random((60, 5)) < 0.3
    labels[:, 4] = False  # a class that does not occur
    metric = M.MultilabelAveragePrecision(logits="x", labels="y")
    expected = np.mean(
        [sk.average_precision_score(labels[:, c], logits[:, c]) for c in range(4)]
    )
    value = _merged(metric, _halves(logits=logits, labels=labels))
    assert value == pytest.approx(expected, rel=1e-12)


def test_multilabel_average_precision_weighs_by_its_mask():
    logits = RNG.normal(size=(40, 3)).astype(np.float32)
    labels = RNG.random((40, 3)) < 0.4
    mask = RNG.integers(0, 3, (40, 3))
    logits[mask == 0] = np.nan  # what does not count may hold anything
    metric = M.MultilabelAveragePrecision(logits="x", labels="y", mask="m")
    clean = np.where(mask == 0, 0, logits)
    expected = np.mean(
        [
            sk.average_precision_score(
                labels[:, c], clean[:, c], sample_weight=mask[:, c]
            )
            for c in range(3)
        ]
    )
    value = _merged(metric, _halves(logits=logits, labels=labels, mask=mask))
    assert value == pytest.approx(expected, rel=1e-12)


def test_multilabel_average_precision_is_undefined_without_positives_or_with_nan():
    metric = M.MultilabelAveragePrecision(logits="x", labels="y")
    logits, labels = np.zeros((3, 2), np.float32), np.zeros((3, 2), bool)
    assert np.isnan(metric(logits=logits, labels=labels))
    assert np.isnan(_merged(metric, []))
    labels[0] = True
    logits[1, 0] = np.nan
    assert np.isnan(metric(logits=logits, labels=labels))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("ignore_background", [False, True])
def test_segmentation_jaccard_averages_objects_then_examples(dtype, ignore_background):
    preds = RNG.integers(0, 4, (5, 6, 7, 1)).astype(dtype)
    targets = RNG.integers(0, 4, (5, 6, 7, 1)).astype(dtype)
    targets[0] = preds[0] = 0
    values = []
    for a, b in zip(preds, targets, strict=True):
        classes = sorted(
            {*a.ravel(), *b.ravel()} - ({0} if ignore_background else set())
        )
        if classes:
            values.append(
                np.mean(
                    [
                        sk.jaccard_score((b == c).ravel(), (a == c).ravel())
                        for c in classes
                    ]
                )
            )
    metric = M.SegmentationJaccard(
        preds="p", targets="t", num_classes=4, ignore_background=ignore_background
    )
    value = _merged(metric, _halves(preds=preds, targets=targets))
    assert value == pytest.approx(np.mean(values), rel=1e-6)


def test_segmentation_jaccard_leaves_out_masked_examples():
    metric = M.SegmentationJaccard(preds="p", targets="t", mask="m", num_classes=2)
    targets = np.zeros((2, 2, 2, 1), int)
    preds = np.stack([targets[0], 1 - targets[0]])
    value = metric(preds=preds, targets=targets, mask=np.array([1, 0]))
    assert value == 1.0
    assert metric(preds=preds, targets=targets, mask=np.array([1, 1])) == 0.5


@pytest.mark.parametrize("scale", [1.0, 1e25, 1e-25])
def test_cosine_similarity_is_that_of_scikit_learn(scale):
    preds, targets = RNG.normal(size=(2, 30, 4))
    expected = np.mean(np.diag(sk.pairwise.cosine_similarity(preds, targets)))
    metric = M.CosineSimilarity(preds="p", targets="t")
    batches = _halves(
        preds=(scale * preds).astype(np.float32), targets=targets.astype(np.float32)
    )
    assert _merged(metric, batches) == pytest.approx(expected, rel=1e-5)


def test_cosine_similarity_of_nothing_is_zero_and_of_other_axes_is_right():
    metric = M.CosineSimilarity(preds="p", targets="t", axis=0)
    assert metric(preds=np.zeros((3, 1)), targets=np.ones((3, 1))) == 0
    x = RNG.normal(size=(3, 5)).astype(np.float32)
    assert metric(preds=x, targets=-2 * x) == pytest.approx(-1, rel=1e-6)


def test_mean_and_covariance_of_the_whole_dataset():
    values = (1e4 + RNG.normal(size=(300, 3))).astype(np.float32)
    result = _merged(M.MeanCov(values="v"), _halves(values=values))
    np.testing.assert_allclose(result["mean"], values.mean(0, np.float64), rtol=1e-7)
    np.testing.assert_allclose(
        result["cov"], np.cov(values.T, dtype=np.float64), rtol=1e-3
    )
    assert M.MeanCov(values="v").empty().compute() == {}


def test_psnr_of_images_of_other_sizes():
    skimage = pytest.importorskip("skimage.metrics")
    target = RNG.random((2, 8, 8, 3)).astype(np.float32)
    small = target[:, ::2, ::2]
    metric = M.PsnrWithResize(pred="p", target="t", size=(4, 4), method="nearest")
    noisy = np.clip(small + 0.1, 0, 1)
    # `nearest` of jax takes the pixel at the middle of each block of 2 x 2.
    picked = target[:, 1::2, 1::2]
    expected = np.mean(
        [
            skimage.peak_signal_noise_ratio(t, p, data_range=1.0)
            for t, p in zip(picked, noisy, strict=True)
        ]
    )
    assert metric(pred=noisy, target=target) == pytest.approx(expected, rel=1e-5)
    same = M.PsnrWithResize(pred="p", target="t")
    plain = kd.metrics.Psnr(pred="p", target="t")
    other = RNG.random((2, 8, 8, 3)).astype(np.float32)
    assert same(pred=other, target=target) == plain(pred=other, target=target)


def test_fid_from_stored_statistics_is_that_of_both_sets(tmp_path):
    real, made = RNG.normal(size=(2, 90, 3)).astype(np.float32)
    np.savez(tmp_path / "stats.npz", mu=real.mean(0), sigma=np.cov(real.T))
    metric = M.FidWithStats(preds="x", stats_path=tmp_path / "stats.npz")
    value = _merged(metric, _halves(preds=made))
    both = kd.metrics.FrechetDistance(preds="x", targets="y")
    assert value == pytest.approx(both(preds=made, targets=real), rel=1e-3)
    assert np.isnan(metric.empty().compute())
    with pytest.raises(ValueError, match="has 2 features"):
        metric(preds=made[:, :2])
    np.savez(tmp_path / "bad.npz", mean=real.mean(0))
    with pytest.raises(ValueError, match=r"`mu` and `sigma`: it has \['mean'\]"):
        M.FidWithStats(preds="x", stats_path=tmp_path / "bad.npz")(preds=made)


def test_depth_errors_leave_out_pixels_without_depth():
    targets = np.array([[1.0, 2.0, 0.0, 4.0]])[..., None]
    preds = np.array([[1.1, 1.0, np.nan, 4.0]])[..., None]
    error = M.MeanAbsoluteRelativeError(preds="p", targets="t")
    assert error(preds=preds, targets=targets) == pytest.approx((0.1 + 0.5 + 0) / 3)
    delta = M.Delta1(preds="p", targets="t")
    assert delta(preds=preds, targets=targets) == pytest.approx(2 / 3)
    assert delta(preds=0 * targets, targets=targets) == 0
    assert delta(preds=1.25 * targets, targets=targets) == 0  # the bound is open
    masked = M.MeanAbsoluteRelativeError(preds="p", targets="t", mask="m")
    mask = np.array([[0, 1, 1, 1]])[..., None]
    assert masked(preds=preds, targets=targets, mask=mask) == pytest.approx(0.25)


def test_depth_of_pictures_is_the_mean_of_their_channels():
    error = M.RGBMeanAbsoluteRelativeError(preds="p", targets="t")
    targets = np.full((1, 2, 2, 3), 2.0)
    preds = targets + np.array([0.3, 0.0, 0.3])
    assert error(preds=preds, targets=targets) == pytest.approx(0.1, rel=1e-5)  # f32


# One example, two frames, two points. Distances: 0.5, 3, 20, 0.
GT = np.zeros((1, 2, 2, 2))
TRACKS = np.array([[[[0.5, 0], [0, 3]], [[20, 0], [0, 0]]]])
GT_VISIBLE = np.array([[[1, 1], [1, 0]]])
VISIBLE = np.array([[[1, 0], [1, 1]]])


def test_tracked_points_are_near_by_thresholds():
    metric = M.TapPositionAccuracy(tracks="a", gt_tracks="b", gt_visible="c")
    # Visible: 0.5 (near for all five), 3 (for 4, 8, 16), 20 (for none).
    expected = (5 + 3 + 0) / 15
    value = metric(tracks=TRACKS, gt_tracks=GT, gt_visible=GT_VISIBLE)
    assert value == pytest.approx(expected)


def test_occlusions_are_told_rightly():
    metric = M.TapOcclusionAccuracy(visible="a", gt_visible="b")
    assert metric(visible=VISIBLE, gt_visible=GT_VISIBLE) == pytest.approx(2 / 4)


def test_jaccard_of_tracks_counts_hits_false_alarms_and_misses():
    metric = M.TapAverageJaccard(tracks="a", visible="v", gt_tracks="b", gt_visible="c")
    # At every threshold the first point is a hit, the second is missed (predicted
    # occluded), the third is a false alarm and missed, the fourth is a false alarm.
    # 3 visible points + 2 false alarms = 5.
    value = metric(
        tracks=TRACKS, visible=VISIBLE[..., None], gt_tracks=GT, gt_visible=GT_VISIBLE
    )
    assert value == pytest.approx(1 / 5)
    perfect = metric(tracks=GT, visible=GT_VISIBLE, gt_tracks=GT, gt_visible=GT_VISIBLE)
    assert perfect == 1.0


def test_tracks_in_space_have_their_own_distances():
    metric = M.Tap3DPositionAccuracy(tracks="a", gt_tracks="b", gt_visible="c")
    tracks = np.zeros((1, 1, 2, 3))
    tracks[0, 0, 0] = [0.2, 0, 0.2]  # 0.283: within 0.3, 0.5, 1.0
    seen = np.ones((1, 1, 2))
    value = metric(tracks=tracks, gt_tracks=0 * tracks, gt_visible=seen)
    assert value == pytest.approx((3 + 4) / 8)


def test_joints_are_measured_by_their_distance():
    metric = M.MeanPerJointPositionError(preds="p", targets="t", mask="m")
    targets = np.zeros((1, 3, 2))
    preds = np.array([[[3.0, 4.0], [1.0, 0.0], [np.nan, 9.0]]])
    mask = np.array([[1, 1, 0]])
    assert metric(preds=preds, targets=targets, mask=mask) == pytest.approx(3.0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_aligned_joints_do_not_depend_on_place_rotation_and_size(mirrored):
    targets = RNG.normal(size=(4, 6, 3))
    rotations = transform.Rotation.random(4, random_state=0).as_matrix()
    preds = 3.0 * np.einsum("bij,bnj->bni", rotations, targets) + RNG.normal(
        size=(4, 1, 3)
    )
    metric = M.ProcrustesPositionError(preds="p", targets="t")
    get_state = jax.jit(lambda preds: metric.get_state(preds=preds, targets=targets))
    if not mirrored:
        assert get_state(preds).compute() == pytest.approx(0, abs=1e-5)
        return
    preds = preds * np.array([1, 1, -1])
    value = get_state(preds).compute()
    expected = []
    for a, b in zip(preds, targets, strict=True):
        # SciPy's best rotation, and the scale that then is best.
        a, b = a - a.mean(0), b - b.mean(0)
        rotation, _ = transform.Rotation.align_vectors(b, a)
        turned = rotation.apply(a)
        scale = (turned * b).sum() / (a * a).sum()
        expected.append(np.linalg.norm(scale * turned - b, axis=-1).mean())
    assert value == pytest.approx(np.mean(expected), rel=1e-4)
    assert value > 0.1


@pytest.mark.parametrize("name", [n for n in dir(M) if n[0].isupper()])
def test_every_metric_has_the_look_of_the_core(name):
    cls = getattr(M, name)
    assert issubclass(cls, kd.metrics.Metric) and cls.__doc__
    required = {"num_classes": 3, "stats_path": "x"}
    kwargs = {k: v for k, v in required.items() if k in cls.__dataclass_fields__}
    metric = cls(**kwargs)
    assert hash(metric) == hash(cls(**kwargs))
    keys = kontext.get_keypaths(metric)
    assert keys and set(keys.values()) <= {kontext.REQUIRED, None}
