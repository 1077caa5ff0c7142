"""Reading parts of the groups of cases, through memory where that pays."""

from __future__ import annotations

import collections
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kauldron.volumes.cases import _cache, _case, _draws
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.transforms import chain as chain_lib

_SLAB_BYTES = 2**25
_WHOLE_BYTES = 2**30
_MAX_FOREGROUND = 2**13
# What transforms have learnt about a volume is kept if it is small, such as its mean.
_SMALL_BYTES = 2**14
_NUM_LARGE = 2


class Reading:
    """Reads groups after their transforms; in each process anew.

    Args:
      cache: Volumes that were read as a whole.
      mode: `'ram'`, `'none'`, or `'auto'`: keeps those of which a part costs more to read
        than its voxels.
    """

    def __init__(self, cache: _cache.Cache, mode: str) -> None:
        self._cache = cache
        self._mode = mode
        self._opened: dict[tuple[str, str], chain_lib.Opened] = {}
        self._large: collections.OrderedDict[tuple[str, str], chain_lib.Opened] = (
            collections.OrderedDict()
        )
        self._foreground: dict[tuple[str, str], np.ndarray] = {}

    def with_mode(self, mode: str) -> Reading:
        """Returns one with the same memory that keeps others."""
        return Reading(self._cache, mode)

    def num_bytes(self, cases: Sequence[_case.Case]) -> int:
        """Memory that all cases take that are kept, up to the budget."""
        sizes = (
            case.num_bytes(group)
            for case in cases
            for group in case.files
            if self._is_held(case, group)
        )
        return min(sum(sizes), self._cache.max_bytes)

    def read(self, case: _case.Case, group: str, region: Region) -> np.ndarray:
        """Returns a part of a group that is there, `[z y x c]`."""
        try:
            if self._is_held(case, group):
                return self._whole(case, group)[region.slices]
            return self._open(case, group).read(region)
        except Exception as error:
            case.explain(error, group)
            raise

    def slabs(self, case: _case.Case, group: str) -> Iterator[np.ndarray]:
        """Yields a group that is there, slab by slab along z."""
        # Parts of a packed file cost as much as the whole.
        if group not in case.cheap and case.num_bytes(group) <= _WHOLE_BYTES:
            yield self._whole(case, group)
            return
        depth, height, width = case.shape
        step = max(1, _SLAB_BYTES * depth // max(case.num_bytes(group), 1))
        for start in range(0, depth, step):
            stop = min(start + step, depth)
            yield self.read(case, group, Region((start, 0, 0), (stop, height, width)))

    def foreground(self, case: _case.Case, group: str) -> np.ndarray:
        """Returns voxels of a group that are above 0, as flat indices, `i64[n]`, sorted.

        Of many, it is a sample that depends on the name of the case alone.
        """
        key = (case.name, group)
        if key not in self._foreground:
            self._foreground[key] = self._sampled_foreground(case, group)
        return self._foreground[key]

    def _sampled_foreground(self, case: _case.Case, group: str) -> np.ndarray:
        if group not in case.files:
            return np.zeros(0, np.int64)
        rng = _draws.generator("foreground", case.name)
        voxels = np.zeros(0, np.int64)
        lots = np.zeros(0)
        begin = 0
        for slab in self.slabs(case, group):
            found = begin + np.flatnonzero((slab > 0).any(axis=-1))
            begin += slab.shape[0] * slab.shape[1] * slab.shape[2]
            voxels = np.concatenate([voxels, found])
            lots = np.concatenate([lots, rng.random(len(found))])
            if len(voxels) > _MAX_FOREGROUND:
                kept = np.argpartition(lots, _MAX_FOREGROUND)[:_MAX_FOREGROUND]
                voxels, lots = voxels[kept], lots[kept]
        return np.sort(voxels)

    def _is_held(self, case: _case.Case, group: str) -> bool:
        size = case.num_bytes(group)
        if self._mode == "none" or size > self._cache.max_bytes:
            return False
        if group not in case.cheap:
            return True
        # Reading a part is better than giving up another volume for the whole.
        return self._mode == "ram" and self._cache.has_room((case.name, group), size)

    def _whole(self, case: _case.Case, group: str) -> np.ndarray:
        return self._cache.get((case.name, group), lambda: case.read_whole(group))

    def _open(self, case: _case.Case, group: str) -> chain_lib.Opened:
        key = (case.name, group)
        opened = self._opened.get(key) or self._large.get(key)
        if opened is None:
            opened = case.open(group)
            if len(pickle.dumps(opened.transform)) <= _SMALL_BYTES:
                self._opened[key] = opened
            else:
                self._large[key] = opened
                while len(self._large) > _NUM_LARGE:
                    self._large.popitem(last=False)
        return opened

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self._cache, "mode": self._mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["cache"], state["mode"])
