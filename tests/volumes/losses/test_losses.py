"""Losses of volumes: against SimpleITK, SciPy and formulas in f64; masks leave no trace."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import interpolate, ndimage

from kauldron import kd
from tests.metrics import contract

_PAIR = {"preds": "p", "targets": "t"}
_MI = functools.partial(kd.volumes.losses.MutualInformation, **_PAIR)
_MIND = functools.partial(kd.volumes.losses.Mind, **_PAIR)
_NCC = functools.partial(kd.losses.NormalizedCrossCorrelation, **_PAIR)
_SMOOTH = functools.partial(kd.volumes.losses.GradientSmoothness, field="p")


_jit = functools.partial(jax.jit, compiler_options=contract.COMPILE_FAST)


def _volumes(shape=(2, 7, 6, 8, 1)):
    rng = np.random.default_rng(0)
    a = ndimage.gaussian_filter(rng.normal(size=shape), (0, 1, 1, 1, 0))
    return a.astype("f4"), (a**2 + 0.05 * rng.normal(size=shape)).astype("f4")


def _values(loss, *args, **kwargs):
    values = functools.partial(loss.get_values, **kwargs)
    return np.asarray(_jit(values)(*args))


# Mutual information.


def _information(a, b, ends_a, ends_b, num_bins):
    """By SciPy's B-splines, voxel by voxel."""
    spline = interpolate.BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)

    def spread(x, ends):
        x = np.clip(x.astype(np.float64), *ends)
        places = (x - ends[0]) / (ends[1] - ends[0]) * (num_bins - 4) + 2
        return np.nan_to_num(spline(places[:, None] - np.arange(num_bins)))

    p = spread(a, ends_a).T @ spread(b, ends_b) / len(a)
    q = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    keep = p > 1e-14
    return (p[keep] * np.log(p[keep] / q[keep])).sum()


def test_mutual_information_is_that_of_the_histogram_of_splines():
    a, b = _volumes()
    found = _values(_MI(num_bins=10, preds_range=(-0.5, 0.5)), a, b)
    expected = [
        _information(x.ravel(), y.ravel(), (-0.5, 0.5), (y.min(), y.max()), num_bins=10)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(-found[:, 0], expected, rtol=1e-4)


def test_mutual_information_is_that_of_simpleitk():
    a, b = _volumes((1, 12, 13, 14, 1))
    images = [sitk.GetImageFromArray(x[0, ..., 0]) for x in (b, a)]
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMattesMutualInformation(20)
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetInitialTransform(sitk.TranslationTransform(3))
    expected = registration.MetricEvaluate(*images)  # fixed, moving
    found = _values(_MI(num_bins=20, targets_window="box"), a, b)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-3)


def test_the_gradient_of_mutual_information_is_that_of_differences():
    a, b = _volumes((1, 4, 5, 6, 1))
    options = {"num_bins": 8, "preds_range": (-1.0, 1.0), "targets_range": (-0.2, 0.5)}
    loss = _MI(**options)
    grad = _jit(jax.grad(lambda x: loss.get_values(x, b).sum()))(a)
    direction = np.random.default_rng(1).normal(size=a.size)

    def value(step):
        moved = (a.ravel() + step * direction).astype(np.float64)
        return -_information(moved, b.ravel(), (-1, 1), (-0.2, 0.5), num_bins=8)

    expected = (value(1e-5) - value(-1e-5)) / 2e-5
    np.testing.assert_allclose(np.ravel(grad) @ direction, expected, rtol=1e-3)


def test_images_of_one_value_and_empty_places_have_no_information():
    a, b = _volumes()
    found = _values(_MI(), np.ones_like(a), b)
    np.testing.assert_allclose(found, 0, atol=1e-6)  # f32 sums of logarithms
    nothing = np.zeros(a.shape)
    assert (_values(_MI(), a, b, region_mask=nothing) == 0).all()


# MIND.


def _describe(x, pairs, radius=1):
    def moved(offset):
        return ndimage.shift(x, [-o for o in offset], order=0, mode="nearest")

    distances = np.stack(
        [
            ndimage.uniform_filter(
                (moved(p) - moved(q)) ** 2, 2 * radius + 1, mode="nearest"
            )
            for p, q in pairs
        ]
    )
    numbers = np.exp(-distances / np.maximum(distances.mean(0), 1e-12))
    return numbers / numbers.max(0)


_STEPS = [tuple(s * np.eye(3, dtype=int)[i]) for s in (1, -1) for i in range(3)]
_PAIRS = {
    "neighbours": [((0, 0, 0), step) for step in _STEPS],
    "self_similarity": [
        (p, q)
        for i, p in enumerate(_STEPS)
        for q in _STEPS[i + 1 :]
        if np.dot(p, q) == 0
    ],
}


@pytest.mark.parametrize("pairs", _PAIRS)
def test_mind_is_that_of_filtered_and_shifted_volumes(pairs):
    a, b = _volumes((1, 5, 6, 7, 1))
    one, other = (_describe(x[0, ..., 0].astype("f8"), _PAIRS[pairs]) for x in (a, b))
    assert len(one) == {"neighbours": 6, "self_similarity": 12}[pairs]
    found = _values(_MIND(pairs=pairs), a, b)
    np.testing.assert_allclose(found[0, 0], ((one - other) ** 2).mean(), rtol=1e-3)


def test_mind_does_not_see_brightness_and_contrast():
    a, _ = _volumes()
    # Where all is flat, the smallest variance is a number and not a share.
    assert _values(_MIND(), a, 5 - 3 * a).max() < 1e-6


# Correlation.


def _correlation(a, b, mask):
    a, b = a[mask], b[mask]
    return np.corrcoef(a.ravel(), b.ravel())[0, 1] if len(a) > 1 else 0.0


@pytest.mark.parametrize("window", [3, 4])
def test_correlation_in_windows_of_a_region_is_that_of_its_places(window):
    a, b = _volumes(
        (1, 22, 6, 5, 1)
    )  # 20 and 19 windows along z: slabs with and without a share
    mask = np.random.default_rng(1).random(a.shape) > 0.3
    found = _values(_NCC(window=window), a + 100, b, region_mask=mask)
    whole = _values(_NCC(window=window), a, b)
    values, inside = [], []
    for at in np.ndindex(*(n - window + 1 for n in a.shape[1:4])):
        box = (0, *(slice(i, i + window) for i in at), 0)
        values.append(
            [_correlation(a[box], b[box], m) for m in (mask[box], mask[box] >= 0)]
        )
        inside.append(
            mask[0, at[0] + window // 2, at[1] + window // 2, at[2] + window // 2]
        )
    of_region, of_all = np.transpose(values)
    # Variances in f32 of values around 100.
    np.testing.assert_allclose(1 - found, of_region[np.ravel(inside)].mean(), atol=2e-3)
    np.testing.assert_allclose(1 - whole, of_all.mean(), atol=1e-4)


def test_correlation_of_a_region_and_its_square():
    a, b = _volumes()
    mask = np.random.default_rng(1).random(a.shape) > 0.3
    expected = [_correlation(*x) for x in zip(a, b, mask, strict=True)]
    found = _values(_NCC(), a, b, region_mask=mask)
    np.testing.assert_allclose(1 - found[:, 0], expected, atol=1e-5)
    found = _values(_NCC(is_squared=True), a, b, region_mask=mask)
    np.testing.assert_allclose(1 - found[:, 0], np.square(expected), atol=1e-5)
    found = _values(_NCC(), a, b, region_mask=0 * mask)
    np.testing.assert_array_equal(found, 0)


# Smoothness.


def test_smoothness_is_the_mean_of_squared_differences_per_mm():
    field = np.random.default_rng(0).normal(size=(2, 4, 5, 6, 3)).astype("f4")
    found = _values(_SMOOTH(spacing_mm=(3, 1, 0.5)), field)
    means = [
        np.square(np.diff(field, axis=i) / s).mean(axis=(1, 2, 3, 4))
        for i, s in ((1, 3), (2, 1), (3, 0.5))
    ]
    np.testing.assert_allclose(found[:, 0], np.mean(means, axis=0), rtol=1e-5)


def test_the_gradient_of_a_ramp_is_its_slope():
    ramp = 0.25 * np.arange(5.0)[:, None, None, None] * np.ones((1, 5, 4, 3, 1))
    assert _values(_SMOOTH(penalty="l1"), ramp).item() == pytest.approx(0.25 / 3)
    assert _values(_SMOOTH(), ramp).item() == pytest.approx(0.0625 / 3)


# All.

_ALL = {
    "ncc": _NCC(),
    "local ncc": _NCC(window=3),
    "mi": _MI(num_bins=8),
    "mind": _MIND(),
    "smoothness": _SMOOTH(),
}


@pytest.mark.parametrize("loss", _ALL.values(), ids=_ALL)
@pytest.mark.parametrize("last", [(), (1,)])
def test_places_that_do_not_count_leave_no_trace(loss, last):
    arrays = _volumes((2, 5, 6, 5, 1))[: 1 if loss.__class__.__name__[0] == "G" else 2]
    mask = np.random.default_rng(1).random((2, 5, 6, 5, *last)) > 0.3
    outside = ~mask.reshape(2, 5, 6, 5, 1)

    @_jit
    def value_and_grad(*arrays):
        return jax.value_and_grad(
            lambda *x: loss.get_values(*x, region_mask=mask).sum(),
            argnums=tuple(range(len(arrays))),
        )(*arrays)

    expected, grads = value_and_grad(*arrays)
    for garbage in (np.nan, np.inf, 3e38, 0.0):
        spoilt = [np.where(outside, np.float32(garbage), x) for x in arrays]
        value, spoilt_grads = value_and_grad(*spoilt)
        assert value == expected
        for grad, spoilt_grad in zip(grads, spoilt_grads, strict=True):
            np.testing.assert_array_equal(spoilt_grad, grad)
            np.testing.assert_array_equal(np.asarray(grad)[outside], 0)
            assert np.abs(grad).max() > 0


@pytest.mark.parametrize("loss", _ALL.values(), ids=_ALL)
def test_examples_that_are_masked_leave_no_trace(loss):
    a, b = _volumes((3, 5, 6, 5, 1))
    inputs = (
        {"field": a}
        if loss.__class__.__name__[0] == "G"
        else {"preds": a, "targets": b}
    )
    first = {k: v[:1] for k, v in inputs.items()}
    spoilt = {k: v.copy() for k, v in inputs.items()}
    for x in spoilt.values():
        x[1:] = np.array([np.nan, np.inf]).reshape(2, 1, 1, 1, 1)

    def value_and_grad(inputs, **mask):
        def value(inputs):
            return loss.get_state(**inputs, **mask).mean()

        return _jit(jax.value_and_grad(value))(inputs)

    expected, grads = value_and_grad(first)
    found, spoilt_grads = value_and_grad(spoilt, mask=np.array([1, 0, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for name, grad in spoilt_grads.items():
        np.testing.assert_array_equal(grad[1:], 0)
        np.testing.assert_allclose(grad[:1], grads[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("loss", [_ALL["local ncc"], _ALL["mi"]], ids=["ncc", "mi"])
def test_memory_is_that_of_a_part_of_the_volume(loss):
    shape = (1, 64, 48, 48, 1)
    volume = jax.ShapeDtypeStruct(shape, np.float32)
    grad = jax.grad(lambda x, y: loss.get_values(x, y).sum())
    used = jax.jit(grad).lower(volume, volume).compile().memory_analysis()
    assert used.temp_size_in_bytes < 4 * 4 * np.prod(shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _MI(num_bins=4), "at least 5"),
        (lambda: _MI(preds_range=(1, 0)), "low, high"),
        (lambda: _MI(targets_window="gauss"), "'cubic' or 'box'"),
        (lambda: _MIND(pairs="all"), "self_similarity"),
        (lambda: _MIND(dilation=0), "`dilation` >= 1"),
        (lambda: _SMOOTH(penalty="l3"), "'l2' or 'l1'"),
        (lambda: _SMOOTH(spacing_mm=0), "above 0"),
        (lambda: _SMOOTH()(field=np.ones((1, 1, 3, 3, 1))), "at least 2 voxels"),
        (
            lambda: _SMOOTH(spacing_mm=(1, 2))(field=np.ones((1, 3, 3, 3, 1))),
            "for each",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_computed(make, message):
    with pytest.raises(ValueError, match=message):
        make()
