"""Starts of patches, borders, overlaps and windows."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron.modules.patches import slices, tilings, windows


def _starts(length, size, overlap, **options):
    tiling = tilings.Tiling(size=(size,), overlap=overlap, **options)
    return tiling.tiles((length,)).starts[0].tolist()


@pytest.mark.parametrize(
    ("length", "size", "overlap", "border", "starts"),
    [
        (10, 4, 0, "shift", [0, 4, 6]),
        (10, 4, 0, "pad", [0, 4, 8]),
        (10, 4, 1, "shift", [0, 3, 6]),
        (10, 4, 0.5, "shift", [0, 2, 4, 6]),
        (10, 4, 0.25, "pad", [0, 3, 6]),
        (10, 10, 0.9, "shift", [0]),
        (11, 10, 0.9, "shift", [0, 1]),
        (3, 4, 0.5, "shift", [0]),
        (3, 4, 0, "pad", [0]),
        (192, 64, 0.5, "shift", [0, 32, 64, 96, 128]),
    ],
)
def test_starts_of_an_axis(length, size, overlap, border, starts):
    assert _starts(length, size, overlap, border=border) == starts


@given(
    length=st.integers(1, 40),
    size=st.integers(1, 12),
    overlap=st.floats(0, 0.99),
    border=st.sampled_from(["shift", "pad"]),
)
@settings(max_examples=50, deadline=None)
def test_patches_cover_an_axis_without_gaps_and_none_is_superfluous(
    length, size, overlap, border
):
    starts = _starts(length, size, overlap, border=border)
    seen = np.zeros(max(length, starts[-1] + size), int)
    for start in starts:
        seen[start : start + size] += 1
    assert seen[:length].min() >= 1
    assert len(starts) == 1 or starts[-2] + size < length
    assert border == "pad" or starts[-1] + size <= max(length, size)


def test_a_free_axis_is_taken_as_a_whole_up_to_a_multiple():
    tiling = tilings.Tiling(size=(1, None, 4), overlap=(0, 0, 1), multiple=8)
    tiles = tiling.tiles((3, 21, 7))
    assert tiles.size == (1, 24, 4)
    assert tiles.padded == (3, 24, 7)
    assert tiles.num_patches == 3 * 1 * 2
    assert tiles.all_starts()[:3].tolist() == [[0, 0, 0], [0, 0, 3], [1, 0, 0]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0, 4)}, "positive number of voxels, or None"),
        ({"size": (4, 4), "overlap": 4}, "number of voxels lies below the size"),
        ({"size": (4, 4), "overlap": 1.0}, "fraction in [0, 1) lies below"),
        ({"size": (4, 4), "overlap": -1}, "got overlap=-1"),
        ({"size": (4, 4), "overlap": (1, 1, 1)}, "one for each of 2 axes"),
        ({"size": (4,), "border": "shfit"}, "Did you mean 'shift'?"),
        ({"size": (4, 4), "overlap": None}, "one for each of 2 axes"),
        ({"size": (4,), "multiple": 0}, "`multiple` is a positive integer: got 0"),
        ({"size": (4,), "multiple": "2"}, "`multiple` is a positive integer: got '2'"),
    ],
)
def test_what_cannot_be_cut_is_told_before_anything_is_cut(options, words):
    with pytest.raises(tilings.PatchError, match=re.escape(words)):
        tilings.Tiling(**options)


def test_an_array_of_other_axes_is_told():
    with pytest.raises(tilings.PatchError, match="2 spatial axes: got the shape"):
        tilings.Tiling(size=(4, 4)).tiles((9, 9, 9))


def _tiles(size, overlap, length=50):
    return tilings.Tiling(size=(size,), overlap=overlap).tiles((length,))


def test_the_cosine_window_is_a_partition_of_unity():
    (window,) = windows.axis_windows("cosine", _tiles(8, 3, length=23))
    total = np.zeros(23)
    for start in (0, 5, 10, 15):
        total[start : start + 8] += window
    np.testing.assert_allclose(total[3:-3], 1, atol=1e-6)  # f32
    assert window[0] == pytest.approx(np.sin(np.pi / 12) ** 2)


def test_the_gaussian_window_has_a_sigma_of_an_eighth_of_the_size():
    (window,) = windows.axis_windows("gaussian", _tiles(16, 0))
    offset = np.arange(16) - 7.5
    np.testing.assert_allclose(window, np.exp(-(offset**2) / (2 * 2.0**2)), rtol=1e-6)


@pytest.mark.parametrize("blend", ["flat", "cosine", "gaussian"])
@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (2, 1), (7, 6), (64, 63)])
def test_windows_are_above_zero_everywhere_also_multiplied(blend, size, overlap):
    (axis,) = windows.axis_windows(blend, _tiles(size, overlap))
    corner = np.float32(axis[0]) ** 3
    assert corner > np.finfo(np.float32).tiny


def test_a_misspelt_window_is_told_with_the_nearest():
    with pytest.raises(tilings.PatchError, match="Did you mean 'gaussian'"):
        windows.axis_windows("gausian", _tiles(4, 0))


def test_a_window_that_is_zero_somewhere_is_refused():
    with pytest.raises(tilings.PatchError, match="above 0 everywhere"):
        windows.axis_windows(lambda size, overlap: np.hanning(size), _tiles(4, 0))


def test_the_share_of_a_patch_is_its_window_in_the_sum_so_far():
    tiles = tilings.Tiling(size=(4, 3), overlap=(2, 2)).tiles((9, 6))
    axes = windows.axis_windows("gaussian", tiles)
    placements = windows.placements(axes, tiles)
    window = np.multiply.outer(*axes)
    total = np.zeros((9, 6))
    for i, (y, x) in enumerate(tiles.all_starts()):
        where = slice(y, y + 4), slice(x, x + 3)
        total[where] += window
        one = windows.Placement(
            placements.start[i],
            tuple(rows[i] for rows in placements.before),
            tuple(rows[i] for rows in placements.total),
        )
        expected = window / total[where]
        share = windows.share(axes, one)[..., 0]
        np.testing.assert_allclose(share, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "num_context", "slice_nr", "expected"),
    [
        (5, 2, 0, [1, 0, 1]),
        (5, 2, 4, [3, 4, 3]),
        (5, 3, 2, [1, 2, 3, 4]),
        (5, 3, 4, [3, 4, 3, 2]),
        (2, 4, 0, [0, 1, 0, 1, 0]),
        (1, 2, 0, [0, 0, 0]),
    ],
)
def test_neighbouring_slices_are_reflected_at_the_ends(
    length, num_context, slice_nr, expected
):
    found = slices.neighbours(length, num_context)[slice_nr]
    assert found.tolist() == expected
    if length > num_context:  # what NumPy's reflection gives
        below = num_context // 2
        padded = np.pad(np.arange(length), (below, num_context - below), "reflect")
        assert found.tolist() == padded[slice_nr : slice_nr + num_context + 1].tolist()
