"""Examples of cases: the arrays of a case, copy and patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kauldron.volumes.augment.drawn import Drawn
from kauldron.volumes.cases import _case, _draws, _places, _reading, checks
from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.patches import grids

_ORIGIN: Shape = (0, 0, 0)


class _MovedVoxels(Sequence[int]):
    """Voxels, as flat indices, at the places where an augmentation brings them."""

    def __init__(self, voxels: np.ndarray, case: _case.Case, drawn: Drawn) -> None:
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
        self, cases: Sequence[_case.Case], plan: _places.Plan, reading: _reading.Reading
    ) -> None:
        self._cases = cases
        self._plan = plan
        self._reading = reading
        self._places = _places.Places(cases, plan)
        self._last_drawn: tuple[tuple, Drawn] | None = None
        self._channels: dict[str, int] = {}
        self._starts_of: dict[Shape, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._places)

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
        return self._places.blocks

    def draw_example(self, index: int, seed: int, epoch: int) -> dict[str, Any]:
        """Returns an example, a function of the arguments alone."""
        place = self._places[index]
        case, patches = place.case, self._plan.patches
        drawn = self._drawn(case, place.copy, seed, epoch)
        start = self._start(place, seed, epoch, drawn)
        example = self._example(
            case, start, lambda name: self._array(case, name, start, drawn)
        )
        if patches is not None:
            example["start"] = np.array(start, np.int32)
        return example

    def region(self, case: _case.Case, region: Region) -> dict[str, Any]:
        """Returns the example that a region of a case is, not augmented."""
        return self._example(
            case, region.start, lambda name: self._region(case, name, region, None)
        )

    def _example(
        self, case: _case.Case, start: Shape, array_of: Callable[[str], np.ndarray]
    ) -> dict[str, Any]:
        geometry = case.geometry.moved(start).to_dict()
        example: dict[str, Any] = {}
        for name, group in self._plan.groups.items():
            example[name] = array_of(name)
            example[f"{name}_geometry"] = geometry
            if group.optional:
                example[f"{name}_is_present"] = np.bool_(name in case.files)
        example["case"] = case.name
        return example

    def _start(
        self, place: _places.Place, seed: int, epoch: int, drawn: Drawn | None
    ) -> Shape:
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
            foreground: Any = None  # flat indices
            if patches.by is not None and patches.foreground_prob:
                foreground = self._reading.foreground(case, patches.by)
                if drawn is not None:
                    foreground = _MovedVoxels(foreground, case, drawn)
            z, y, x = patches.start(rng, case.shape, foreground)
        return int(z), int(y), int(x)

    def _array(
        self, case: _case.Case, name: str, start: Shape, drawn: Drawn | None
    ) -> np.ndarray:
        """Returns a group, or the patch of it at a start."""
        patches, group = self._plan.patches, self._plan.groups[name]
        if patches is None:
            return self._region(case, name, Region.whole(case.shape), drawn)
        has_context = group.augmented_as == "image"
        region = patches.source_region(start, case.shape, has_context=has_context)
        array = self._region(case, name, region, drawn)
        return patches.patch(array, start, case.shape, has_context=has_context)

    def _region(
        self, case: _case.Case, name: str, region: Region, drawn: Drawn | None
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
        check = checks.wrong_labels if group.is_label else checks.too_large
        wrong = check(array, group)
        if wrong is not None:
            raise VolumeError(f"{case.name}: {case.files[name]} {wrong}.")
        array = array.astype(dtype, copy=False)
        if drawn is None:
            return array
        return drawn.apply(
            array, case.geometry, region=region, kind=kind, source=source
        )

    def _drawn(
        self, case: _case.Case, copy: int, seed: int, epoch: int
    ) -> Drawn | None:
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
