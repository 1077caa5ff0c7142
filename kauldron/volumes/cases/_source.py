"""Examples of cases: which case, copy and patch an index means, and its arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron.volumes.cases import _cache, _case, _checks, _draws
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError


@dataclasses.dataclass(frozen=True)
class Place:
    """Which patch an example is.

    Attributes:
      case: The case.
      copy: Number of the copy of the case, which is augmented in its own way.
      number: Of the patch in the case; 0 of whole cases.
    """

    case: _case.Case
    copy: int
    number: int


class CaseSource:
    """A `kd.data.py.DrawnSource` of whole cases or their patches; pickled to workers."""

    def __init__(
        self,
        cases: Sequence[_case.Case],
        groups: Mapping[str, groups_lib.Group],
        *,
        patches: Any,
        augment: Any,
        cache: _cache.Cache,
        cases_at_once: int | None,
    ) -> None:
        self._cases = cases
        self._groups = groups
        self._patches = patches
        self._augment = augment
        self._cache = cache
        self._num_copies = getattr(augment, "copies", 1)
        per_case = [self._num_patches(case.shape) * self._num_copies for case in cases]
        self._ends = np.cumsum(per_case)
        self._cases_at_once = cases_at_once

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.draw_example(index, 0, 0)

    def __repr__(self) -> str:
        return f"{len(self)} examples of {len(self._cases)} cases"

    @property
    def blocks(self) -> tuple[np.ndarray | None, int]:
        """The case of each example, if cases are to be shuffled one after the other."""
        if self._cases_at_once is None:
            return None, 0
        sizes = np.diff(self._ends, prepend=0)
        return np.repeat(np.arange(len(self._cases)), sizes), self._cases_at_once

    def place(self, index: int) -> Place:
        """Returns the case, copy and number of an example.

        Raises:
          IndexError: If there is none.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There is no example {index} of {len(self)}.")
        position = int(np.searchsorted(self._ends, index, side="right"))
        case = self._cases[position]
        of_case = index - (int(self._ends[position - 1]) if position else 0)
        copy, number = divmod(of_case, self._num_patches(case.shape))
        return Place(case, copy, number)

    def draw_example(self, index: int, seed: int, epoch: int) -> dict[str, Any]:
        place = self.place(index)
        case = place.case
        start = self._start(place, seed, epoch)
        size = case.shape if self._patches is None else self._patches.size
        stop = tuple(a + b for a, b in zip(start, size, strict=True))
        region = Region(start, stop)
        geometry = case.geometry.moved(start).to_dict()
        example: dict[str, Any] = {}
        for name, group in self._groups.items():
            example[name] = self._array(case, name, region)
            example[f"{name}_geometry"] = geometry
            if group.optional:
                example[f"{name}_is_present"] = np.bool_(name in case.files)
        example["case"] = case.name
        if self._patches is not None:
            example["start"] = np.array(start, np.int32)
        return example

    def _start(self, place: Place, seed: int, epoch: int) -> Shape:
        if self._patches is None:
            return (0, 0, 0)
        if hasattr(self._patches, "starts"):
            return tuple(map(int, self._starts(place.case.shape)[place.number]))
        case = place.case
        rng = _draws.generator(seed, epoch, case.name, place.copy, place.number)
        return tuple(map(int, self._patches.start(rng, case.shape, None)))

    def _num_patches(self, shape: Shape) -> int:
        if self._patches is None:
            return 1
        if hasattr(self._patches, "starts"):
            return len(self._starts(shape))
        return self._patches.num_per_case

    @functools.cached_property
    def _starts(self) -> Any:
        return functools.lru_cache(maxsize=64)(self._patches.starts)

    def _array(self, case: _case.Case, name: str, region: Region) -> np.ndarray:
        array = case.read(name, region)
        group = self._groups[name]
        if group.is_label:
            wrong = _checks.wrong_labels(array, group)
            if wrong is not None:
                raise VolumeError(f"{case.name}: {case.files[name]} {wrong}.")
        return array.astype(group.batch_dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_starts"}
