"""Metrics with a value for each case: parts, cases, classes, and what is undefined."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from kauldron import kd

metrics = kd.volumes.metrics

_KEYS = {"pred_labels": "preds", "labels": "labels", "classes": {"a": 1, "b": 2}}


def _labels(seed, num=3):
    return np.random.default_rng(seed).integers(0, 3, (num, 6, 5, 4, 1)).astype("u1")


def _merged(states):
    return functools.reduce(lambda a, b: a.merge(b), states)


_REGIONS = {
    "dice": (metrics.Dice(**_KEYS), metrics.dice),
    "hd95": (
        metrics.Hausdorff(**_KEYS, percentile=95, pooling="pooled", spacing_mm=2),
        functools.partial(
            metrics.hausdorff, percentile=95, pooling="pooled", spacing_mm=2
        ),
    ),
    "asd": (metrics.SurfaceDistance(**_KEYS), metrics.surface_distance),
    "surface_dice": (
        metrics.SurfaceDice(**_KEYS, tolerance_mm=0),
        functools.partial(metrics.surface_dice, tolerance_mm=0),
    ),
}


@pytest.mark.parametrize(("metric", "function"), _REGIONS.values(), ids=_REGIONS)
def test_members_average_the_functions_over_cases(metric, function):
    preds, labels = _labels(0), _labels(1)
    preds[0][preds[0] == 2] = 0
    labels[0][labels[0] == 2] = 0
    expected = {
        name: [function(p == i, t == i) for p, t in zip(preds, labels, strict=True)]
        for name, i in _KEYS["classes"].items()
    }
    state = metric.get_state(pred_labels=preds, labels=labels)
    found = state.compute()
    assert found["a"] == pytest.approx(np.mean(expected["a"]))
    assert found["b"] == pytest.approx(np.mean(expected["b"][1:]))
    assert found["mean"] == pytest.approx((found["a"] + found["b"]) / 2)
    assert found["num_undefined"] == 1
    assert list(found) == metric.__metric_names__()
    jitted = jax.jit(lambda p, t: metric.get_state(pred_labels=p, labels=t))
    inside = jitted(preds, labels).compute()
    for name, value in found.items():
        assert inside[name] == pytest.approx(float(value), rel=1e-6)


def test_parts_of_a_case_are_put_together():
    preds, labels = _labels(0, 2), _labels(1, 2)
    metric = metrics.Dice(**_KEYS, case="batch.case")
    parts = [
        metric.get_state(
            pred_labels=preds[:, part], labels=labels[:, part], case=["left", "right"]
        )
        for part in (slice(4, 6), slice(0, 1), slice(1, 4))
    ]
    whole = metric.get_state(pred_labels=preds, labels=labels, case=["left", "right"])
    assert _merged(parts).table() == whole.table()
    assert list(whole.table()) == ["left", "right"]
    assert whole.table()["left"]["a"] == metrics.dice(preds[0] == 1, labels[0] == 1)


def test_means_over_voxels_do_not_depend_on_the_slabs_to_the_last_bit():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 7, 6, 5, 1)) * 10.0 ** rng.integers(
        -8, 8, (7, 1, 1, 1)
    )
    metric = metrics.MeanAbsoluteError(preds="a", targets="b", case="case")

    def state(*slabs):
        states = [
            metric.get_state(preds=a[:, s], targets=b[:, s], case=["x"]) for s in slabs
        ]
        return _merged(states).table()["x"][""]

    whole = state(slice(None))
    assert state(slice(3, 7), slice(0, 1), slice(1, 3)) == whole
    assert whole == pytest.approx(np.abs(a - b).mean())


def test_cases_are_named_by_strings_bytes_or_numbers():
    preds, labels = _labels(0, 2), _labels(1, 2)
    metric = metrics.Dice(**_KEYS, case="case")
    as_bytes = np.array([[120, 49, 0], [121, 50, 51]], np.uint8)
    for names, expected in [
        (["x1", "y23"], ["x1", "y23"]),
        (np.array([b"x1", b"y23"]), ["x1", "y23"]),
        (as_bytes, ["x1", "y23"]),
        (np.array([[7], [3]]), ["7", "3"]),
    ]:
        state = metric.get_state(pred_labels=preds, labels=labels, case=names)
        assert list(state.table()) == expected
    jitted = jax.jit(
        lambda case: metric.get_state(pred_labels=preds, labels=labels, case=case)
    )
    assert list(jitted(as_bytes).table()) == ["x1", "y23"]


def test_examples_that_are_masked_and_states_without_examples_have_no_cases():
    preds, labels = _labels(0, 2), _labels(1, 2)
    metric = metrics.Dice(**_KEYS)
    masked = metric.get_state(
        pred_labels=preds, labels=labels, mask=np.array([[1], [0]])
    )
    alone = metric.get_state(pred_labels=preds[:1], labels=labels[:1])
    assert masked.table() == alone.table()
    empty = metric.empty().compute()
    assert np.isnan(empty["mean"]) and empty["num_undefined"] == 0


def test_surfaces_of_parts_are_refused_with_the_name_of_the_case():
    metric = metrics.Hausdorff(**_KEYS, case="case")
    state = metric.get_state(
        pred_labels=_labels(0, 2), labels=_labels(1, 2), case=["x"] * 2
    )
    with pytest.raises(ValueError, match="'x' came in 2 parts"):
        state.compute()


def test_geometries_of_batches_and_masks_of_regions_are_used():
    preds, labels = _labels(0, 2), _labels(1, 2)
    spacing = np.array([[3.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    matrices = np.stack([kd.volumes.Geometry.make(s).matrix for s in spacing])
    metric = metrics.Hausdorff(**_KEYS, geometry="g")
    mask = np.ones((2, 6, 5, 4))
    mask[:, 0] = 0
    state = metric.get_state(
        pred_labels=preds,
        labels=labels,
        geometry={"matrix": matrices},
        region_mask=mask,
    )
    for i, row in enumerate(state.table().values()):
        pair = preds[i, 1:, ..., 0] == 1, labels[i, 1:, ..., 0] == 1
        assert row["a"] == pytest.approx(
            metrics.hausdorff(*pair, spacing_mm=spacing[i])
        )


def test_scores_are_measured_by_the_class_of_the_highest():
    scores = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 3)).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 3, (2, 3, 4, 5, 1))
    by_scores = metrics.Dice(logits="preds.logits", labels="l", classes=(1, 2))
    by_labels = metrics.Dice(pred_labels="p", labels="l", classes=(1, 2))
    found = by_scores(logits=scores, labels=labels)
    expected = by_labels(pred_labels=scores.argmax(-1)[..., None], labels=labels)
    assert found == expected
    with pytest.raises(ValueError, match="exactly one of"):
        by_scores(labels=labels)


@pytest.mark.parametrize("member", [metrics.Psnr, metrics.Ssim])
def test_similarities_of_cases_are_those_of_the_functions(member):
    a, b = np.random.default_rng(0).random((2, 2, 12, 12, 11, 1))
    metric = member(preds="a", targets="b", data_range=2.0, case="case")
    function = metrics.psnr if member is metrics.Psnr else metrics.ssim
    mask = np.random.default_rng(1).random((2, 12, 12, 11)) > 0.5
    state = metric.get_state(preds=a, targets=b, case=["x", "y"], region_mask=mask)
    expected = [
        function(p, t, data_range=2.0, mask=m)
        for p, t, m in zip(a, b, mask, strict=True)
    ]
    found = [row[""] for row in state.table().values()]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    jitted = jax.jit(
        lambda a, b: metric.get_state(preds=a, targets=b, region_mask=mask)
    )
    if member is metrics.Ssim:
        metric = member(preds="a", targets="b", data_range=2.0)
        np.testing.assert_allclose(jitted(a, b).compute(), np.mean(expected), rtol=1e-5)


def test_errors_of_landmarks_are_averaged_over_cases():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 5, 3))
    a[0, 1] = np.nan
    a[2] = np.nan
    metric = metrics.Tre(preds="a", targets="b")
    expected = [metrics.tre(*pair) for pair in zip(a, b, strict=True)]
    assert metric(preds=a, targets=b) == pytest.approx(np.nanmean(expected))


def test_every_member_says_what_is_better():
    directions = {
        name: getattr(metrics, name).direction
        for name in dir(metrics)
        if isinstance(getattr(metrics, name), type)
        and issubclass(getattr(metrics, name), metrics.CaseMetric)
        and name != "CaseMetric"
    }
    better_if_larger = {"Dice", "SurfaceDice", "Psnr", "Ssim"}
    assert len(directions) == 9
    assert {k for k, v in directions.items() if v == "max"} == better_if_larger
    assert set(directions.values()) == {"max", "min"}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"classes": ()}, "`classes` are labels"),
        ({"classes": ("liver",)}, "`classes` are labels"),
        ({"classes": (1, 1)}, "`classes` are labels"),
    ],
)
def test_classes_are_labels_with_names(kwargs, message):
    with pytest.raises(ValueError, match=message):
        metrics.Dice(pred_labels="p", labels="l", **kwargs)


def test_labels_that_are_no_integers_are_refused():
    metric = metrics.Dice(**_KEYS)
    with pytest.raises(ValueError, match=r"`labels` float64\[2, 6, 5, 4, 1\] \(key"):
        metric(pred_labels=_labels(0, 2), labels=_labels(1, 2) / 2)
