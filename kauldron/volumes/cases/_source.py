"""Examples of cases: which case, copy and patch an index means, and its arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron._base import console
from kauldron.volumes.cases import _case, _checks, _draws, _reading
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.patches import grids

_ORIGIN: Shape = (0, 0, 0)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is taken of each case.

    Attributes:
      groups: By name.
      patches: `PatchGrid`, `RandomPatch`, or `None` for whole cases.
      patches_per_case: How many random ones.
      augment: An `Augment`, or `None`.
      cases_at_once: How many cases are shuffled together; `None`: all.
    """

    groups: Mapping[str, groups_lib.Group]
    patches: grids.PatchGrid | grids.RandomPatch | None
    patches_per_case: int
    augment: Any
    cases_at_once: int | None

    def num_patches(self, shape: Shape) -> int:
        """Returns how many patches a copy of a case gives."""
        if self.patches is None:
            return 1
        if isinstance(self.patches, grids.PatchGrid):
            return len(self.patches.starts(shape))
        return self.patches_per_case

    @property
    def num_copies(self) -> int:
        """How many copies of each case there are."""
        return 1 if self.augment is None else self.augment.copies


class _MovedVoxels(Sequence[int]):
    """Voxels, as flat indices, at the places where an augmentation brings them."""

    def __init__(self, voxels: np.ndarray, case: _case.Case, drawn: Any) -> None:
        self._voxels = voxels
        self._case = case
        self._drawn = drawn

    def __len__(self) -> int:
        return len(self._voxels)

    def __getitem__(self, number: Any) -> Any:
        shape, geometry = self._case.shape, self._case.geometry
        index = np.array(np.unravel_index(self._voxels[number], shape))
        moved = geometry.to_index(self._drawn.points(geometry.to_world(index))[0])
        inside = np.clip(np.rint(moved).astype(int), 0, np.array(shape) - 1)
        return int(np.ravel_multi_index(tuple(inside), shape))


class CaseSource:
    """A `kd.data.py.DrawnSource` of whole cases or their patches; pickled to workers."""

    def __init__(
        self, cases: Sequence[_case.Case], plan: Plan, reading: _reading.Reading
    ) -> None:
        self._cases = cases
        self._plan = plan
        self._reading = reading
        self._per_copy = [plan.num_patches(case.shape) for case in cases]
        self._ends = np.cumsum(self._per_copy) * plan.num_copies
        self._last_drawn: tuple[Any, Any] | None = None
        self._channels: dict[str, int] = {}
        self._starts_of: dict[Shape, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.draw_example(index, 0, 0)

    def __repr__(self) -> str:
        return f"{len(self)} examples of {len(self._cases)} cases"

    @property
    def num_bytes(self) -> int:
        """Memory that a worker takes for volumes that it keeps."""
        return self._reading.num_bytes(self._cases)

    @property
    def blocks(self) -> tuple[np.ndarray | None, int]:
        """The case of each example, if cases are to be shuffled one after the other."""
        at_once = self._plan.cases_at_once
        if at_once is None:
            return None, 0
        sizes = np.diff(self._ends, prepend=0)
        return np.repeat(np.arange(len(self._cases)), sizes), at_once

    def place(self, index: int) -> Place:
        """Returns the case, copy and number of an example.

        Raises:
          IndexError: If there is none.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There is no example {index} of {len(self)}.")
        position = int(np.searchsorted(self._ends, index, side="right"))
        of_case = index - (int(self._ends[position - 1]) if position else 0)
        copy, number = divmod(of_case, self._per_copy[position])
        return Place(self._cases[position], copy, number)

    def draw_example(self, index: int, seed: int, epoch: int) -> dict[str, Any]:
        """Returns an example, a function of the arguments alone."""
        place = self.place(index)
        case, patches = place.case, self._plan.patches
        drawn = self._drawn(case, place.copy, seed, epoch)
        start = self._start(place, seed, epoch, drawn)
        geometry = case.geometry.moved(start).to_dict()
        example: dict[str, Any] = {}
        for name, group in self._plan.groups.items():
            array = self._array(case, name, start, drawn)
            example[name] = array
            example[f"{name}_geometry"] = geometry
            if group.optional:
                example[f"{name}_is_present"] = np.bool_(name in case.files)
        example["case"] = case.name
        if patches is not None:
            example["start"] = np.array(start, np.int32)
        return example

    def _start(self, place: Place, seed: int, epoch: int, drawn: Any) -> Shape:
        """Returns the first voxel of the patch."""
        patches, case = self._plan.patches, place.case
        if patches is None:
            return _ORIGIN
        if isinstance(patches, grids.PatchGrid):
            if case.shape not in self._starts_of:
                self._starts_of[case.shape] = patches.starts(case.shape)
            z, y, x = self._starts_of[case.shape][place.number]
        else:
            rng = _draws.generator(seed, epoch, case.name, place.copy, place.number)
            foreground = None
            if patches.by is not None and patches.foreground_prob:
                foreground = self._foreground(case, patches.by, drawn)
            z, y, x = patches.start(rng, case.shape, foreground)
        return int(z), int(y), int(x)

    def _foreground(self, case: _case.Case, by: str, drawn: Any) -> Any:
        """Returns flat indices of foreground, where the augmentation brings it."""
        found = self._reading.foreground(case, by)
        return found if drawn is None else _MovedVoxels(found, case, drawn)

    def _array(
        self, case: _case.Case, name: str, start: Shape, drawn: Any
    ) -> np.ndarray:
        """Returns a group, or the patch of it at a start."""
        patches, group = self._plan.patches, self._plan.groups[name]
        if patches is None:
            return self._region(case, name, Region.whole(case.shape), drawn)
        has_context = not group.is_label
        region = patches.source_region(start, case.shape, has_context=has_context)
        array = self._region(case, name, region, drawn)
        return patches.patch(array, start, case.shape, has_context=has_context)

    def _region(
        self, case: _case.Case, name: str, region: Region, drawn: Any
    ) -> np.ndarray:
        """Returns a region of a group after transforms and augmentation."""
        group = self._plan.groups[name]
        dtype = group.batch_dtype
        if name not in case.files:
            shape = (*region.shape, self._num_channels(name))
            return np.full(shape, group.default, dtype)
        kind = group.augmented_as
        source = region if drawn is None else drawn.source_region(region, kind=kind)
        array = self._reading.read(case, name, source)
        if group.is_label:
            wrong = _checks.wrong_labels(array, group)
            if wrong is not None:
                raise VolumeError(f"{case.name}: {case.files[name]} {wrong}.")
        array = array.astype(dtype, copy=False)
        if drawn is None:
            return array
        return drawn.apply(
            array, case.geometry, region=region, kind=kind, source=source
        )

    def _drawn(self, case: _case.Case, copy: int, seed: int, epoch: int) -> Any:
        """Returns the augmentation of a copy of a case, the same for all its patches."""
        augment = self._plan.augment
        if augment is None:
            return None
        key = (seed, epoch, case.name, copy)
        held = self._last_drawn  # read once: threads may share this object
        if held is None or held[0] != key:
            held = (key, augment.draw(*key, case.shape, case.geometry))
            self._last_drawn = held
        return held[1]

    def _num_channels(self, name: str) -> int:
        """Returns how many channels a group has where it is there."""
        if name not in self._channels:
            case = next((case for case in self._cases if name in case.files), None)
            voxel = Region(_ORIGIN, (1, 1, 1))
            self._channels[name] = (
                1 if case is None else self._reading.read(case, name, voxel).shape[-1]
            )
        return self._channels[name]


def tell_small(cases: Sequence[_case.Case], patches: grids.Patches | None) -> None:
    """Says which cases are smaller than a patch: those are filled up."""
    if patches is None:
        return
    small = []
    for case in cases:
        sizes = zip(case.shape, patches.patch_size(case.shape), strict=True)
        if any(have < size for have, size in sizes):
            small.append(f"{case.name} {case.shape}")
    if small:
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        console.log(
            f"{len(small)} of {len(cases)} cases are smaller than a patch, "
            f"{patches.size}, and filled up with {patches.pad:g}: "
            f"{', '.join(small[:5])}{more}."
        )
