"""Grids of patches, random patches, and how a patch is read."""

import numpy as np
import pytest

from kauldron import kd
from kauldron.modules.patches import tilings

_VOLUME = np.arange(7 * 6 * 5.0).reshape(7, 6, 5, 1)


def _read(patches, start, volume=_VOLUME, **options):
    region = patches.source_region(start, volume.shape, **options)
    return patches.patch(volume[region.slices], start, volume.shape, **options)


def test_a_grid_covers_a_volume_z_slowest():
    grid = kd.volumes.PatchGrid(size=(4, 6, 4), overlap=(1, 0, 0))
    starts = grid.starts(_VOLUME.shape)
    assert starts.tolist() == [[0, 0, 0], [0, 0, 1], [3, 0, 0], [3, 0, 1]]
    for start in starts:
        z, y, x = start
        expected = _VOLUME[z : z + 4, y : y + 6, x : x + 4]
        np.testing.assert_array_equal(_read(grid, start), expected)


def test_what_lies_outside_of_the_volume_is_padded():
    grid = kd.volumes.PatchGrid(size=(4, 6, 4), border="pad", pad=-1.0)
    start = grid.starts(_VOLUME.shape)[-1]
    assert start.tolist() == [4, 0, 4]
    assert grid.source_region(start, _VOLUME.shape).shape == (3, 6, 1)
    patch = _read(grid, start)
    np.testing.assert_array_equal(patch[:3, :, :1], _VOLUME[4:, :, 4:])
    assert (patch[3:] == -1).all()
    assert (patch[:, :, 1:] == -1).all()


def test_a_free_axis_has_the_size_of_the_volume():
    grid = kd.volumes.PatchGrid(size=(1, None, None))
    assert grid.patch_size(_VOLUME.shape) == (1, 6, 5)
    assert len(grid.starts(_VOLUME.shape)) == 7


def test_neighbouring_slices_become_channels_of_inputs_only():
    grid = kd.volumes.PatchGrid(size=(1, 6, 5), context_slices=3)
    middle = _read(grid, (2, 0, 0))
    np.testing.assert_array_equal(
        middle[0], np.concatenate([_VOLUME[z] for z in (1, 2, 3, 4)], axis=-1)
    )
    region = grid.source_region((6, 0, 0), _VOLUME.shape)
    assert (region.start[0], region.stop[0]) == (4, 7)
    np.testing.assert_array_equal(
        _read(grid, (6, 0, 0))[0],
        np.concatenate([_VOLUME[z] for z in (5, 6, 5, 4)], axis=-1),
    )
    target = _read(grid, (6, 0, 0), has_context=False)
    np.testing.assert_array_equal(target, _VOLUME[6:])


def test_random_patches_lie_anywhere_inside():
    patches = kd.volumes.RandomPatch(size=(3, 6, 9))
    starts = np.array(
        [
            patches.start(np.random.default_rng(seed), _VOLUME.shape)
            for seed in range(200)
        ]
    )
    # The last axis is shorter than the patch, which is padded.
    assert sorted({tuple(start) for start in starts}) == [(z, 0, 0) for z in range(5)]
    assert _read(patches, starts[0]).shape == (3, 6, 9, 1)


@pytest.mark.parametrize("voxel", [(0, 0, 0), (6, 5, 4), (3, 1, 2)])
def test_a_patch_of_the_foreground_holds_a_voxel_of_it_at_any_place(voxel):
    patches = kd.volumes.RandomPatch(size=(3, 2, 4), foreground_prob=1.0, by="seg")
    foreground = np.array([np.ravel_multi_index(voxel, _VOLUME.shape[:3])])
    starts = np.array(
        [
            patches.start(np.random.default_rng(seed), _VOLUME.shape, foreground)
            for seed in range(200)
        ]
    )
    offsets = np.array(voxel) - starts
    assert (offsets >= 0).all()
    assert (offsets < [3, 2, 4]).all()
    assert (starts >= 0).all()
    assert (starts <= np.array([7, 6, 5]) - [3, 2, 4]).all()
    if voxel == (3, 1, 2):
        assert {*offsets[:, 0]} == {0, 1, 2}
        assert {*offsets[:, 1]} == {0, 1}


def test_the_share_of_foreground_patches_is_as_asked():
    patches = kd.volumes.RandomPatch(size=(1, 1, 1), foreground_prob=0.3, by="seg")
    rng = np.random.default_rng(0)
    shape = (20, 20, 20)
    foreground = np.array([0])
    hits = [not patches.start(rng, shape, foreground).any() for _ in range(3000)]
    assert np.mean(hits) == pytest.approx(0.3, abs=0.03)  # 3.6 standard errors


def test_without_foreground_patches_come_from_everywhere():
    patches = kd.volumes.RandomPatch(size=2, foreground_prob=1.0, by="seg")
    nothing = np.array([], int)
    start = patches.start(np.random.default_rng(1), (9, 9, 9), nothing)
    again = patches.start(np.random.default_rng(1), (9, 9, 9), nothing)
    assert start.tolist() == again.tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: kd.volumes.PatchGrid(size=(4, 4)), "along \\(z, y, x\\): got"),
        (lambda: kd.volumes.PatchGrid(size=4, overlap=4), "Patches must advance"),
        (lambda: kd.volumes.RandomPatch(size=None), "number of voxels, .* got None"),
        (
            lambda: kd.volumes.RandomPatch(size=8.5),
            "positive number of voxels.*got 8.5",
        ),
        (
            lambda: kd.volumes.PatchGrid(size=4, context_slices=2),
            "Begin the size with 1",
        ),
        (lambda: kd.volumes.RandomPatch(size=4, foreground_prob=2), "a probability"),
        (lambda: kd.volumes.RandomPatch(size=4, foreground_prob="1"), "got '1'"),
        (lambda: kd.volumes.RandomPatch(size=4, foreground_prob=0.5), "by='seg'"),
    ],
)
def test_patches_that_make_no_sense_are_told(make, words):
    with pytest.raises(tilings.PatchError, match=words):
        make()
