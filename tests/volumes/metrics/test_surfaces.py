"""Distances of surfaces: against all pairs of points, SimpleITK, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import distance

from kauldron import kd

metrics = kd.volumes.metrics


def _blob(seed, shape=(9, 11, 12), level=0.0):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 1.0) > level


def _surface_points(mask, steps):
    """Voxels with a face neighbour outside, in mm; beyond the array is outside."""
    faces = ndimage.generate_binary_structure(mask.ndim, 1)
    return np.argwhere(mask & ~ndimage.binary_erosion(mask, faces)) @ steps.T


def _of_all_pairs(a, b, steps):
    points = [_surface_points(x, steps) for x in (a, b)]
    pairs = distance.cdist(*points)
    return pairs.min(axis=1), pairs.min(axis=0)


_SHEARED = np.array([[2.0, 0.3, 0.0], [0.0, 1.0, 0.4], [0.1, 0.0, 0.7]])
_STEPS = {
    "cubes": 1.0,
    "thick slices": (5.0, 0.7, 0.8),
    "thin slices": (0.1, 2.0, 1.0),
    "sheared": _SHEARED,
}


@pytest.mark.parametrize("spacing", _STEPS.values(), ids=_STEPS)
@pytest.mark.parametrize("level", [0.0, 0.35, 0.6])
def test_distances_are_those_of_all_pairs_of_surface_voxels(spacing, level):
    a, b = _blob(0), _blob(1, level=level)
    steps = spacing if np.ndim(spacing) == 2 else np.diag(np.broadcast_to(spacing, 3))
    found = metrics.SurfaceDistances.of(a, b, spacing_mm=spacing)
    expected = _of_all_pairs(a, b, steps)
    np.testing.assert_allclose(found.a_to_b, expected[0], rtol=1e-12)
    np.testing.assert_allclose(found.b_to_a, expected[1], rtol=1e-12)


def test_regions_far_apart_and_in_two_dimensions_are_measured_alike():
    a, b = np.zeros((2, 40, 30), bool)
    a[1:4, 2:5], b[30:33, 20:29] = True, True
    found = metrics.SurfaceDistances.of(a, b, spacing_mm=(1.0, 2.0))
    expected = _of_all_pairs(a, b, np.diag([1.0, 2.0]))
    np.testing.assert_allclose(found.a_to_b, expected[0], rtol=1e-12)
    np.testing.assert_allclose(found.b_to_a, expected[1], rtol=1e-12)


def test_the_hausdorff_distance_of_solid_bodies_is_that_of_simpleitk():
    z, y, x = np.mgrid[:20, :20, :20]
    a = (z - 9) ** 2 + (y - 9) ** 2 + (x - 9) ** 2 <= 36
    b = (z - 11) ** 2 + (y - 8) ** 2 + (x - 10) ** 2 <= 25
    images = [sitk.GetImageFromArray(m.astype(np.uint8)) for m in (a, b)]
    for image in images:
        image.SetSpacing((0.5, 1.0, 3.0))  # x, y, z
    peer = sitk.HausdorffDistanceImageFilter()
    peer.Execute(*images)
    found = metrics.hausdorff(a, b, spacing_mm=(3.0, 1.0, 0.5))
    np.testing.assert_allclose(found, peer.GetHausdorffDistance(), rtol=1e-6)  # f32


def test_percentiles_and_means_are_pooled_as_told():
    a, b = np.zeros((2, 1, 1, 12), bool)
    a[..., [0, 1, 2, 3]] = True
    b[..., [0, 11]] = True
    # To b: 0, 1, 2, 3. To a: 0, 8.
    hd = metrics.hausdorff
    assert hd(a, b) == 8
    assert hd(a, b, percentile=50) == 4  # the larger of the medians 1.5 and 4
    assert hd(a, b, percentile=50, pooling="pooled") == 1.5  # of 0, 0, 1, 2, 3, 8
    assert hd(a, b, percentile=95) == pytest.approx(7.6)
    assert hd(a, b, percentile=95, pooling="pooled") == pytest.approx(3 + 0.75 * 5)
    mean = metrics.surface_distance
    assert mean(a, b, spacing_mm=2) == pytest.approx(2 * 14 / 6)
    assert mean(a, b, pooling="directed_mean") == (1.5 + 4) / 2
    assert mean(a, b, pooling="directed_max") == 4
    near = metrics.surface_dice
    assert near(a, b) == 3 / 6  # 0 and 1 of one surface, 0 of the other
    assert near(a, b, spacing_mm=2) == 2 / 6
    assert near(a, b, tolerance_mm=3) == 5 / 6


def test_equal_regions_have_no_distance():
    a = _blob(0)
    assert metrics.hausdorff(a, a) == 0
    assert metrics.surface_distance(a, a) == 0
    assert metrics.surface_dice(a, a, tolerance_mm=0) == 1


def test_an_empty_region_has_no_distance_and_no_share():
    a, nothing = _blob(0), np.zeros((9, 11, 12), bool)
    for pair in [(a, nothing), (nothing, a), (nothing, nothing)]:
        assert np.isnan(metrics.hausdorff(*pair))
        assert np.isnan(metrics.surface_distance(*pair))
    assert metrics.surface_dice(a, nothing) == metrics.surface_dice(nothing, a) == 0
    assert np.isnan(metrics.surface_dice(nothing, nothing))


def test_labels_are_measured_each_by_itself():
    a, b = (np.random.default_rng(i).integers(0, 3, (5, 6, 7)) for i in range(2))
    found = metrics.hausdorff(a, b[..., None][..., 0], labels=[1, 2, 9])
    assert found[1] == metrics.hausdorff(a == 1, b == 1)
    assert found[2] == metrics.hausdorff(a == 2, b == 2)
    assert np.isnan(found[9])


def test_voxels_outside_of_the_mask_are_in_no_region():
    a, b, mask = _blob(0), _blob(1), _blob(2)
    measures = metrics.hausdorff, metrics.surface_distance, metrics.surface_dice
    for measure in measures:
        assert measure(a, b, mask=mask) == measure(a & mask, b & mask)
        of_labels = measure(3 * a, 3 * b, mask=mask, labels=[3])
        assert of_labels == {3: measure(a & mask, b & mask)}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"spacing_mm": (1, 1)}, "each of the 3 axes"),
        ({"spacing_mm": 0}, "above 0"),
        ({"spacing_mm": np.zeros((3, 3))}, "matrix of a geometry"),
        ({"percentile": 101}, "lies in"),
        ({"pooling": "mean"}, "directed_max"),
    ],
)
def test_what_cannot_be_measured_is_told(kwargs, message):
    a = _blob(0)
    with pytest.raises(ValueError, match=message):
        metrics.hausdorff(a, a, **kwargs)


def test_regions_of_two_grids_are_refused():
    with pytest.raises(ValueError, match="Resample one to the grid of the other"):
        metrics.surface_distance(np.ones((2, 3, 4)), np.ones((2, 3, 5)))
