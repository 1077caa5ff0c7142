"""Volumes kept in memory stay within their budget."""

from __future__ import annotations

import os
import pickle

import numpy as np

from kauldron.volumes.cases import _cache


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
