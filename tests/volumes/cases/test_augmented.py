"""Augmentation of cases: one draw for all patches and groups of a copy in an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from tests.volumes.cases import volumes_on_disk

_SHAPE = (10, 11, 12)
_SIZE = (4, 5, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    seg = np.zeros(_SHAPE, np.uint8)
    seg[2:5, 3:6, 7:9] = 1
    return volumes_on_disk.write_cases(
        tmp_path_factory.mktemp("cases"), 2, shape=_SHAPE, seg=seg
    )


def _source(root, patches, *, copies=1, groups=None, **fields):
    usual = {
        "ct": kd.volumes.Group("ct.npy"),
        "seg": kd.volumes.Group("seg.npy", is_label=True),
    }
    moves = [
        kd.volumes.augment.Flip(),
        kd.volumes.augment.Rotate(),
        kd.volumes.augment.Elastic(prob=0.5),
        kd.volumes.augment.Noise(),
    ]
    augment = kd.volumes.augment.Augment(moves, copies=copies)
    return kd.volumes.VolumeCases(
        root,
        groups=groups or usual,
        patches=patches,
        augment=augment,
        batch_size=1,
        seed=0,
        **fields,
    )


def _crop(array, start):
    return array[tuple(slice(a, a + n) for a, n in zip(start, _SIZE, strict=True))]


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_patches_are_crops_of_the_augmented_case(root, cache):
    grid = kd.volumes.PatchGrid(size=_SIZE)
    patches = _source(root, grid, copies=2, cache=cache).data_source
    wholes = _source(root, None, copies=2).data_source
    assert len(wholes) == 4 and len(patches) == 4 * 3 * 3 * 2
    for index in range(0, len(patches), 5):
        patch = patches.draw_example(index, 7, 3)
        whole = wholes.draw_example(index // 18, 7, 3)
        assert patch["case"] == whole["case"]
        # Regions mix the same voxels, in another order of additions.
        np.testing.assert_allclose(
            patch["ct"], _crop(whole["ct"], patch["start"]), rtol=1e-5, atol=1e-2
        )
        np.testing.assert_array_equal(patch["seg"], _crop(whole["seg"], patch["start"]))


def test_groups_agree_and_epochs_copies_and_cases_differ(root):
    groups = {name: kd.volumes.Group("ct.npy", kind="map") for name in ("a", "b")}
    source = _source(root, None, copies=2, groups=groups).data_source
    drawn = [
        source.draw_example(index, 0, epoch) for index in range(4) for epoch in range(2)
    ]
    for example in drawn:
        np.testing.assert_array_equal(example["a"], example["b"])
    values = {example["a"].tobytes() for example in drawn}
    assert len(values) == len(drawn)
    again = source.draw_example(3, 0, 1)
    np.testing.assert_array_equal(again["a"], drawn[-1]["a"])


def test_patches_are_drawn_around_the_foreground_where_it_is_now(root):
    patches = kd.volumes.RandomPatch(size=_SIZE, foreground_prob=1.0, by="seg")
    ds = _source(root, patches, patches_per_case=20)
    examples = [
        ds.data_source.draw_example(i, 0, 0) for i in range(len(ds.data_source))
    ]
    share = np.mean([example["seg"].any() for example in examples])
    # What a rotation brings over the border is not there any more.
    assert share > 0.8


def test_augmented_pipelines_resume_exactly(root):
    patches = kd.volumes.RandomPatch(size=_SIZE, foreground_prob=0.5, by="seg")
    kd.testing.check_pipeline(
        lambda: _source(root, patches, patches_per_case=3), num_batches=4
    )


@pytest.mark.slow
def test_worker_processes_augment_alike(root):
    patches = kd.volumes.RandomPatch(size=_SIZE)
    one, two = (
        iter(_source(root, patches, patches_per_case=3, num_workers=n)) for n in (0, 2)
    )
    with one, two:
        for _ in range(8):
            np.testing.assert_array_equal(next(one)["ct"], next(two)["ct"])
