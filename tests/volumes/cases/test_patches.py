"""Patches of cases: which there are, what they hold, the same after an interruption."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kauldron import kd
from tests.volumes.cases import volumes_on_disk

_SIZE = (4, 4, 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three cases, the last of which is larger."""
    root = tmp_path_factory.mktemp("cases")
    volumes_on_disk.write_cases(root, 2)
    volumes_on_disk.write_case(root / "case_2", 2, shape=(9, 7, 8))
    return root


def _ds(root, patches, **fields):
    groups = {
        "ct": kd.volumes.Group("ct.npy"),
        "seg": kd.volumes.Group("seg.npy", is_label=True),
    }
    fields = {"batch_size": 4, "seed": 0} | fields
    return kd.volumes.VolumeCases(root, groups=groups, patches=patches, **fields)


def _rows(ds, num_batches=None):
    """The rows of batches, as (case, start, ct, seg)."""
    keys = ("case", "start", "ct", "seg", "ct_geometry")
    rows = []
    with iter(ds) as batches:
        for batch in itertools.islice(batches, num_batches):
            columns = [batch[k] for k in keys[:-1]] + [batch["ct_geometry"]["origin"]]
            rows += zip(*columns, strict=True)
    return rows


def _cropped(root, case, group, start):
    z, y, x = (slice(a, a + n) for a, n in zip(start, _SIZE, strict=True))
    return np.load(root / case / f"{group}.npy")[z, y, x, None]


@pytest.mark.parametrize(
    ("cache", "cache_bytes"),
    # The third one holds one volume at a time.
    [("ram", None), ("none", None), ("ram", 2_500), ("auto", None)],
)
def test_every_patch_of_a_grid_is_the_crop_at_its_start(root, cache, cache_bytes):
    ds = _ds(
        root,
        kd.volumes.PatchGrid(size=_SIZE, overlap=1),
        num_epochs=1,
        batch_drop_remainder=False,
        cache=cache,
        cache_bytes=cache_bytes,
    )
    rows = _rows(ds)
    # By hand: 4 of step 3 need 2 along 6, 7; 3 along 8, 9.
    assert len(rows) == 2 * (2 * 2 * 3) + 3 * 2 * 3
    assert len(ds) == -(-len(rows) // 4)
    assert len({(case, *start) for case, start, *_ in rows}) == len(rows)
    for case, start, ct, seg, origin in rows:
        np.testing.assert_array_equal(ct, _cropped(root, case, "ct", start))
        np.testing.assert_array_equal(seg, _cropped(root, case, "seg", start))
        # 1 mm voxels at the origin; points are (x, y, z).
        np.testing.assert_array_equal(origin, start[::-1])


def test_workers_are_counted_with_the_volumes_that_they_keep(root):
    voxels = 2 * 6 * 7 * 8 + 9 * 7 * 8
    num_bytes = {
        cache: _ds(root, None, cache=cache).data_source.num_bytes
        for cache in ("auto", "ram", "none")
    }
    # Both groups have 4 bytes a voxel.
    assert num_bytes == {"auto": 8 * voxels, "ram": 8 * voxels, "none": 0}
    little = _ds(root, None, cache_bytes=10_000, num_workers=2).data_source
    assert little.num_bytes <= 5_000


def test_random_patches_are_drawn_anew_in_every_epoch(root):
    ds = _ds(
        root, kd.volumes.RandomPatch(size=_SIZE), patches_per_case=8, batch_size=24
    )
    rows = _rows(ds, 2)
    for case, start, ct, seg, _ in rows:
        np.testing.assert_array_equal(ct, _cropped(root, case, "ct", start))
        np.testing.assert_array_equal(seg, _cropped(root, case, "seg", start))
    starts = np.array([[*start] for _, start, *_ in rows])
    first, second = starts[:24], starts[24:]
    assert sorted(map(tuple, first)) != sorted(map(tuple, second))
    assert (starts.min(axis=0) == 0).all() and starts.max() == 5
    assert [sum(case == f"case_{i}" for case, *_ in rows) for i in range(3)] == [16] * 3


def test_patches_are_drawn_around_the_foreground(tmp_path):
    seg = np.zeros(volumes_on_disk.SHAPE, np.uint8)
    seg[5, 0, 7] = 1
    root = volumes_on_disk.write_cases(tmp_path, 2, seg=seg)
    (root / "case_1/seg.npy").unlink()
    np.save(root / "case_1/seg.npy", np.zeros_like(seg))
    patches = kd.volumes.RandomPatch(size=(2, 2, 2), foreground_prob=1.0, by="seg")
    rows = _rows(_ds(root, patches, patches_per_case=50, batch_size=100), 1)
    assert all(seg.any() for case, _, _, seg, _ in rows if case == "case_0")
    assert any(start[0] < 4 for case, start, *_ in rows if case == "case_1")


_SOURCES = {
    "grid": lambda root, **f: _ds(root, kd.volumes.PatchGrid(size=_SIZE), **f),
    "random": lambda root, **f: _ds(
        root,
        kd.volumes.RandomPatch(size=_SIZE, foreground_prob=0.5, by="seg"),
        patches_per_case=3,
        **f,
    ),
    "windows": lambda root, **f: _ds(
        root,
        kd.volumes.RandomPatch(size=_SIZE),
        patches_per_case=3,
        cases_at_once=1,
        **f,
    ),
}


@pytest.mark.parametrize("name", _SOURCES)
def test_pipelines_and_sources_keep_their_contracts(root, name):
    make = _SOURCES[name]
    kd.testing.check_pipeline(lambda: make(root))
    kd.testing.check_source(lambda: make(root).data_source)


@pytest.mark.slow
def test_workers_change_nothing_before_or_after_an_interruption(root):
    make = _SOURCES["random"]
    with iter(make(root, num_workers=0)) as batches:
        expected = list(itertools.islice(batches, 10))
    for num_before, num_after in ((0, 2), (2, 0)):
        with iter(make(root, num_workers=num_before)) as batches:
            found = list(itertools.islice(batches, 4))
            state = batches.get_state()
        with iter(make(root, num_workers=num_after)) as batches:
            batches.set_state(state)
            found += itertools.islice(batches, 6)
        for batch, same in zip(expected, found, strict=True):
            for key in ("case", "start", "ct", "seg"):
                np.testing.assert_array_equal(batch[key], same[key])


def test_few_cases_at_once_are_read_one_after_the_other(root):
    rows = _rows(_SOURCES["windows"](root, batch_size=9), 4)
    cases = [case for case, *_ in rows]
    turns = [[case for case, _ in itertools.groupby(cases[i : i + 9])] for i in (0, 9)]
    assert all(sorted(turn) == ["case_0", "case_1", "case_2"] for turn in turns)
    orders = {tuple(cases[i : i + 9 : 3]) for i in range(0, 36, 9)}
    assert len(orders) > 1  # of the cases, from epoch to epoch


def test_small_volumes_are_padded_and_free_axes_are_whole(tmp_path, capsys):
    root = volumes_on_disk.write_cases(tmp_path, 2)
    ds = _ds(
        root,
        kd.volumes.PatchGrid(size=(8, None, None), pad=-1.0),
        num_epochs=1,
        batch_size=2,
    )
    for case, start, ct, seg, _ in _rows(ds):
        assert ct.shape == (8, 7, 8, 1) and start.tolist() == [0, 0, 0]
        np.testing.assert_array_equal(ct[:6, ..., 0], np.load(root / case / "ct.npy"))
        assert (ct[6:] == -1).all() and (seg[6:] == -1).all()
    told = capsys.readouterr().err
    assert "2 of 2 cases are smaller than a patch, (8, None, None)" in told
    assert "filled up with -1: case_0 (6, 7, 8), case_1 (6, 7, 8)." in told


def test_context_slices_are_channels_of_inputs_alone(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path, 1)
    grid = kd.volumes.PatchGrid(size=(1, None, None), context_slices=2)
    volume = np.load(root / "case_0/ct.npy")
    for _, start, ct, seg, _ in _rows(_ds(root, grid, num_epochs=1, batch_size=1)):
        z = start[0]
        # Reflected beyond the ends: -1 is 1, 6 is 4.
        around = [abs(z - 1), z, z + 1 if z < 5 else 4]
        np.testing.assert_array_equal(ct[0].transpose(2, 0, 1), volume[around])
        assert seg.shape == (1, 7, 8, 1)


def test_one_file_is_exposed_twice_with_other_transforms(root):
    groups = {
        "soft": kd.volumes.Group(
            "ct.npy", transforms={"clip": kd.volumes.transforms.Clip(low=0, high=5)}
        ),
        "hard": kd.volumes.Group("ct.npy"),
    }
    ds = kd.volumes.VolumeCases(
        root,
        groups=groups,
        patches=kd.volumes.PatchGrid(size=_SIZE),
        batch_size=4,
        seed=0,
    )
    batch = next(iter(ds))
    np.testing.assert_array_equal(batch["soft"], batch["hard"].clip(0, 5))


def test_transforms_of_batches_and_elements_work(root):
    ds = _ds(
        root,
        kd.volumes.PatchGrid(size=_SIZE),
        transforms=[
            kd.data.Elements(keep=["ct", "start"]),
            kd.data.Cast(key="start", dtype="float32"),
        ],
    )
    batch = next(iter(ds))
    assert set(batch) == {"ct", "start"} and batch["start"].dtype == np.float32


def test_patches_that_cannot_be(root):
    with pytest.raises(kd.volumes.VolumeError, match="Did you mean 'seg'"):
        _ds(root, kd.volumes.RandomPatch(size=_SIZE, foreground_prob=0.5, by="sge"))
    with pytest.raises(kd.volumes.VolumeError, match="`patches_per_case` must be"):
        _ds(root, None, patches_per_case=0)
    with pytest.raises(kd.volumes.VolumeError, match=r"is for a `kd.volumes.RandomP"):
        _ds(root, kd.volumes.PatchGrid(size=_SIZE), patches_per_case=2)
