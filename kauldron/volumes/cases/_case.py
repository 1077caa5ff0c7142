"""One case: its files, what their headers say, and the grid of its groups."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.files import base as files_base
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms import base as transforms_base
from kauldron.volumes.transforms import boxes, cache
from kauldron.volumes.transforms import chain as chain_lib

_STREAMS = (".gz", ".bz2")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a case."""

    case: str
    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.case}: {self.file} {self.what}."


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One case.

    Attributes:
      name: Its name.
      files: Group -> its file; without those that are absent.
      infos: Group -> what the header of the file says.
      groups: By name.
      shape: Of all groups after their transforms, (z, y, x).
      geometry: Of all groups after their transforms.
    """

    name: str
    files: Mapping[str, str]
    infos: Mapping[str, files_base.Info]
    groups: Mapping[str, groups_lib.Group]
    shape: Shape
    geometry: Geometry

    def open(self, group: str) -> chain_lib.Opened:
        """Returns a group that is there, to be read by regions after its transforms."""
        path, info = self.files[group], self.infos[group]
        read = _ReadFile(path)
        return _opened(read, path, info, self.groups[group], self.files)

    def read_whole(self, group: str) -> np.ndarray:
        """Returns a group that is there, after its transforms; its file is read once."""
        path, info = self.files[group], self.infos[group]
        read = _HeldFile(path)
        return _opened(read, path, info, self.groups[group], self.files).read()

    def num_bytes(self, group: str) -> int:
        """Memory that a group takes in a batch's dtype, roughly."""
        itemsize = self.groups[group].batch_dtype.itemsize
        return math.prod(self.shape) * self.infos[group].num_channels * itemsize

    @functools.cached_property
    def cheap(self) -> frozenset[str]:
        """Groups of which a part costs no more to read than its voxels."""
        return frozenset(
            group
            for group, path in self.files.items()
            if is_plain(path, self.infos[group])
            and all(map(_mixes_none, self.groups[group].transform_list))
        )

    def explain(self, error: Exception, group: str) -> None:
        """Adds to an error of reading which case and file it is about."""
        error.add_note(f"The case is {self.name!r}, the file {self.files[group]!r}.")


class _Others(Mapping[str, Image]):
    """The groups of a case as they are in their files, read when they are asked for."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def __getitem__(self, group: str) -> Image:
        return volume_files.read(self._files[group])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def is_plain(path: str, info: files_base.Info) -> bool:
    """Whether the values lie in the file as they are, neither packed nor scaled."""
    num_bytes = math.prod(info.array_shape) * info.dtype.itemsize
    return os.path.isfile(path) and os.path.getsize(path) >= num_bytes


def _mixes_none(transform: transforms_base.VolumeTransform) -> bool:
    """Whether a voxel comes from one voxel, and nothing has to be known before."""
    return isinstance(transform.reach, transforms_base.Point) or isinstance(
        transform, boxes.BoxTransform
    )


def open_case(
    name: str,
    files: Mapping[str, tuple[str, ...]],
    groups: Mapping[str, groups_lib.Group],
) -> tuple[Case | None, list[Problem]]:
    """Reads the headers of a case; returns it, or what is wrong with it."""
    problems: list[Problem] = []
    infos: dict[str, files_base.Info] = {}
    for group_name, group in groups.items():
        paths = files[group_name]
        if len(paths) > 1:
            also = ", ".join(map(repr, paths[1:]))
            what = f"has the name of a second case, {also}"
            problems.append(Problem(name, paths[0], what))
        if not paths:
            if not group.optional:
                missing = group.pattern.replace(groups_lib.CASE, name)
                what = f"is missing: there is no file of the group {group_name!r}"
                problems.append(Problem(name, missing, what))
            continue
        try:
            infos[group_name] = _checked_info(paths[0])
        except Exception as error:  # of a library, for a damaged file
            what = told(error, paths[0], "cannot be read")
            problems.append(Problem(name, paths[0], what))
    there = {group: files[group][0] for group in infos}
    if problems or not infos:
        return None, problems
    grids: dict[str, tuple[Shape, Geometry]] = {}
    for group, info in infos.items():
        try:
            grids[group] = _grid(there[group], info, groups[group], there)
        except Exception as error:
            what = told(error, there[group], "does not fit its transforms")
            problems.append(Problem(name, there[group], what))
    problems += _grid_problems(name, grids, there)
    if problems:
        return None, problems
    shape, geometry = next(iter(grids.values()))
    case = Case(
        name=name,
        files=there,
        infos=infos,
        groups=groups,
        shape=shape,
        geometry=geometry,
    )
    return case, []


def told(error: Exception, path: str, what: str) -> str:
    """Returns what an error says of a file, without its path and full stop."""
    text = str(error).rstrip(".")
    if text.startswith(path):
        return text.removeprefix(path).removeprefix(":").strip()
    kind = "" if isinstance(error, VolumeError) else f"{type(error).__name__}: "
    return f"{what}: {kind}{text}"


def _checked_info(path: str) -> files_base.Info:
    """Returns the header of a file; a last voxel that is missing is an error."""
    info = volume_files.info(path)
    # Of a stream, it would cost as much as all voxels.
    if os.path.isfile(path) and not path.endswith(_STREAMS):
        last = Region(transforms_base.as_shape([n - 1 for n in info.shape]), info.shape)
        volume_files.read(path, region=last)
    return info


def _chain(group: groups_lib.Group) -> transforms_base.VolumeTransform:
    chain = chain_lib.Chain(group.transform_list)
    return chain.for_labels() if group.is_label else chain


def _opened(
    read: chain_lib.Read,
    path: str,
    info: files_base.Info,
    group: groups_lib.Group,
    files: Mapping[str, str],
) -> chain_lib.Opened:
    is_kept = any(isinstance(t, cache.CacheToDisk) for t in group.transform_list)
    return chain_lib.opened(
        read,
        _chain(group),
        shape=info.shape,
        geometry=info.geometry,
        others=_Others(files),
        key=_state_of([path, *files.values()]) if is_kept else None,
    )


def _state_of(paths: Sequence[str]) -> str:
    """Returns a text that is another one once one of the files has changed."""
    return "|".join(f"{path}:{_time_and_size(path)}" for path in paths)


def _time_and_size(path: str) -> str:
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)  # it went on inside of a file
    state = os.stat(path or ".")
    return f"{state.st_mtime_ns}:{state.st_size}"


@dataclasses.dataclass(frozen=True)
class _ReadFile:
    path: str

    def __call__(self, region: Region) -> np.ndarray:
        return volume_files.read(self.path, region=region).array


class _HeldFile:
    """Reads a file once, as a whole."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, region: Region) -> np.ndarray:
        return self._array[region.slices]

    @functools.cached_property
    def _array(self) -> np.ndarray:
        return volume_files.read(self._path).array


def _grid(
    path: str,
    info: files_base.Info,
    group: groups_lib.Group,
    files: Mapping[str, str],
) -> tuple[Shape, Geometry]:
    """Returns shape and geometry after the transforms, from the header if that will do."""
    shape, geometry = info.shape, info.geometry
    for transform in group.transform_list:
        if not isinstance(transform.reach, transforms_base.Whole):
            try:
                shape, geometry = transform.out_shape(shape, geometry)
            except VolumeError:  # one that has to see this group or another one
                break
        elif transform.changes_places:
            break
    else:
        return shape, geometry
    opened = _opened(_ReadFile(path), path, info, group, files)
    return opened.shape, opened.geometry


def _grid_problems(
    name: str, grids: Mapping[str, tuple[Shape, Geometry]], files: Mapping[str, str]
) -> list[Problem]:
    """Returns which groups lie on another grid than the first one."""
    problems = []
    usual_name = next(iter(grids), "")
    for group, (shape, geometry) in grids.items():
        usual_shape, usual = grids[usual_name]
        if shape != usual_shape:
            what = f"has the shape {shape}, {usual_name!r} {usual_shape} (z, y, x)"
        elif not geometry.is_close(usual):
            what = f"lies elsewhere than {usual_name!r}: {_difference(geometry, usual)}"
        else:
            continue
        what += ". Resample one of them to the grid of the other"
        problems.append(Problem(name, files[group], what))
    return problems


def _difference(geometry: Geometry, usual: Geometry) -> str:
    for what in ("spacing_mm", "origin", "direction"):
        here, there = getattr(geometry, what), getattr(usual, what)
        if not np.allclose(here, there, atol=1e-6):
            here, there = np.round(here, 6).tolist(), np.round(there, 6).tolist()
            return f"its {what} is {here}, not {there}"
    return "by more than 1e-3 mm"
