"""Volumes kept in memory stay within their budget."""

from __future__ import annotations

import os
import pickle

import numpy as np

from kauldron import kd
from kauldron.volumes.cases import _cache
from tests.volumes.cases import volumes_on_disk


def _loads(cache, keys, size=10):
    """Reads arrays of `size` bytes; returns those that had to be loaded."""
    loaded = []
    for key in keys:
        cache.get(key, lambda key=key: loaded.append(key) or np.zeros(size, np.uint8))
    return "".join(loaded)


def test_the_arrays_used_last_are_held_within_the_budget():
    cache = _cache.Cache(25)
    assert _loads(cache, "abab") == "ab"
    assert cache.num_bytes == 20
    # `a` was used before `b`; `c` takes its place.
    assert _loads(cache, "cbca") == "ca"
    assert cache.num_bytes == 20
    assert _loads(cache, "xx", size=26) == "xx"  # too large to be held
    assert cache.has_room("a", 10)
    assert not cache.has_room("b", 10)


def test_a_copy_in_another_process_is_empty():
    cache = _cache.Cache(25)
    _loads(cache, "ab")
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.num_bytes == 0 and copy.max_bytes == 25
    assert _loads(copy, "a") == "a"


def test_the_default_budget_is_a_part_of_the_memory():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 <= _cache.default_budget() <= total / 2


def test_what_is_before_a_cache_on_disk_is_computed_once_until_a_file_changes(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path / "cases", 2)
    kept = tmp_path / "kept"
    transforms = kd.volumes.transforms
    group = kd.volumes.Group(
        "ct.npy",
        transforms=[
            transforms.Normalize(low=0.0, high=20_000.0),
            transforms.CacheToDisk(directory=kept),
        ],
    )

    def read():
        ds = kd.volumes.VolumeCases(root, groups={"ct": group}, cache="none")
        return [ds.open(f"case_{i}", "ct").read()[..., 0] for i in range(2)]

    first = read()
    files = sorted(kept.glob("*.npy"))
    assert len(files) == 2
    times = [file.stat().st_mtime_ns for file in files]
    np.testing.assert_array_equal(read(), first)
    assert [file.stat().st_mtime_ns for file in files] == times
    np.save(root / "case_0/ct.npy", np.zeros(volumes_on_disk.SHAPE, np.float32))
    again = read()
    np.testing.assert_array_equal(again[1], first[1])
    assert np.ptp(again[0]) == 0 and np.ptp(first[0]) > 0
