"""What each augmentation does, by numbers that are worked by hand."""

import numpy as np
import pytest
import scipy.ndimage

from kauldron import kd

A = kd.volumes.augment

_SHAPE = (8, 9, 10)
_GRID = kd.volumes.Geometry.make((2.0, 1.0, 0.5))


def _draws(augmentation, *, shape=_SHAPE, geometry=_GRID, num=8, **kwargs):
    augment = A.Augment([augmentation], **kwargs)
    return [augment.draw(0, 0, "case", copy, shape, geometry) for copy in range(num)]


def _volume(shape=_SHAPE):
    return np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)


def test_flips_are_those_of_numpy_and_all_of_them_occur():
    x = _volume()
    choices = [(), (0,), (2,), (0, 2)]
    expected = {np.flip(x, axes).tobytes() for axes in choices}

    found = {d.apply(x, _GRID).tobytes() for d in _draws(A.Flip(axes=(0, 2)), num=32)}

    assert found == expected


def test_permuted_axes_of_one_spacing_show_the_middle_of_longer_ones():
    shape = (4, 6, 5)
    x = _volume(shape)
    geometry = kd.volumes.Geometry.make((1.0, 1.0, 3.0))
    swapped = np.zeros_like(x)
    # z and y change places: 4 of 6 rows stay, and rows of 4 lie in the middle of 6.
    swapped[:, 1:5] = np.swapaxes(x[:, 1:5], 0, 1)

    found = {
        drawn.apply(x, geometry).tobytes()
        for drawn in _draws(A.Permute(), shape=shape, geometry=geometry, num=16)
    }

    assert found == {x.tobytes(), swapped.tobytes()}


def test_quarter_turns_mix_no_voxels():
    x = _volume((6, 6, 6))
    turns = [np.rot90(x, k, (0, 1)) for k in range(4)]
    geometry = kd.volumes.Geometry.make(2.0, (1, 2, 3))
    rotate = A.Rotate(degrees=(0, 0, 90), quarter_turns=True)

    drawn = _draws(rotate, shape=(6, 6, 6), geometry=geometry, num=24)

    found = {d.apply(x, geometry).tobytes() for d in drawn}
    assert found == {np.ascontiguousarray(turn).tobytes() for turn in turns}


def test_a_scale_of_two_doubles_distances_from_the_middle():
    middle = _GRID.to_world((np.array(_SHAPE) - 1) / 2)
    offset = np.array([0.3, -0.7, 1.1])
    [drawn] = _draws(A.Scale(factor=(2, 2)), num=1)

    np.testing.assert_allclose(drawn.points(middle + offset), [middle + 2 * offset])


def test_a_translation_shifts_everything_within_its_bounds():
    points = np.random.default_rng(0).normal(size=(5, 3))
    shifts = []
    for drawn in _draws(A.Translate(max_mm=(3.0, 0.0, 1.0)), num=20):
        shift = drawn.points(points) - points
        np.testing.assert_allclose(shift, shift[:1].repeat(5, 0), atol=1e-12)
        shifts.append(shift[0])
    largest = np.abs(shifts).max(axis=0)  # x, y, z

    assert 0.7 < largest[0] <= 1 and largest[1] < 1e-12 and 2.1 < largest[2] <= 3


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (A.Brightness(offset=(0.5, 0.5)), [0.5, 2.5, 5.5]),
        (A.Contrast(factor=(2, 2), center=1.0), [-1, 3, 9]),
        # 4 * (x / 4)**2 within [0, 4].
        (A.Gamma(gamma=(2, 2), value_range=(0, 4)), [0, 1, 4]),
    ],
)
def test_values_become(augmentation, expected):
    x = np.array([0, 2, 5], np.int16).reshape(1, 1, 3)
    [drawn] = _draws(augmentation, shape=(1, 1, 3), num=1)

    y = drawn.apply(x, _GRID)

    assert y.dtype == np.float32
    np.testing.assert_allclose(y.ravel(), expected, atol=1e-6)


def test_blur_is_the_gaussian_of_scipy_in_millimetres():
    x = _volume()
    [drawn] = _draws(A.Blur(sigma_mm=(0.8, 0.8)), num=1)

    theirs = scipy.ndimage.gaussian_filter(x, (0.4, 0.8, 1.6, 0), mode="nearest")
    np.testing.assert_allclose(drawn.apply(x, _GRID), theirs, atol=1e-6)


def test_a_cutout_fills_its_box():
    for drawn in _draws(A.Cutout(size=(2, 3, 20), value=9.0)):
        where = np.argwhere(drawn.apply(_volume(), _GRID)[..., 0] == 9)

        assert len(where) == 2 * 3 * 10
        assert (np.ptp(where, axis=0) + 1).tolist() == [2, 3, 10]


def test_low_resolution_keeps_ramps_and_smooths_noise():
    shape = (16, 16, 16)
    ramp = np.broadcast_to(np.arange(16.0)[:, None, None, None], (*shape, 1))
    low = A.LowResolution(factor=(2, 2), axes=(0,))
    [drawn] = _draws(low, shape=shape, geometry=_GRID, num=1)

    smooth = drawn.apply(ramp, _GRID)[:, 5, 5, 0]
    noise = drawn.apply(_volume(shape), _GRID)

    # Triangles at the ends have one side.
    np.testing.assert_allclose(smooth[3:-3], np.arange(16)[3:-3], atol=1e-6)
    # A triangle of 4 voxels, (1, 3, 3, 1) / 8, leaves 20/64 of the variance; lines
    # between its values, 3/4 and 1/4 of neighbours that overlap, less.
    assert 0.35 < noise.std() < np.sqrt(20 / 64)


@pytest.mark.parametrize(
    ("member", "whole", "share"),
    [(0.25, 1.0, 0.25), (1.0, 0.25, 0.25), (0.5, 0.5, 0.25)],
)
def test_probabilities_of_an_augmentation_and_of_all(member, whole, share):
    noise = A.Noise(prob=member)
    drawn = _draws(noise, num=400, prob=whole)

    # Four standard deviations of a share of 400 draws.
    num = sum(bool(d.filters) for d in drawn)
    assert abs(num / 400 - share) < 4 * np.sqrt(share * (1 - share) / 400)
