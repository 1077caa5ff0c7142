"""One case: its files, the grid of its groups, and reading parts of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from kauldron.volumes.cases import _stored
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Geometry, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError

_SLAB_BYTES = 2**25


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
      groups: By name.
      shape: Of all groups after their transforms, (z, y, x).
      geometry: Of all groups after their transforms.
      num_channels: Of each group after its transforms; of absent ones 1.
    """

    name: str
    files: Mapping[str, str]
    groups: Mapping[str, groups_lib.Group]
    shape: Shape
    geometry: Geometry
    num_channels: Mapping[str, int]

    def read(self, group: str, region: Region) -> np.ndarray:
        """Returns a part of a group after its transforms, `[z y x c]`."""
        path = self.files.get(group)
        of = self.groups[group]
        if path is None:
            shape = (*region.shape, self.num_channels[group])
            return np.full(shape, of.default, of.batch_dtype)
        try:
            return _stored.read(path, region=region).array
        except Exception as error:
            error.add_note(f"The case is {self.name!r}, the file {path!r}.")
            raise

    def slabs(self, group: str) -> Iterator[np.ndarray]:
        """Yields a group after its transforms, slab by slab along z."""
        depth, height, width = self.shape
        row_bytes = height * width * self.num_channels[group] * 8
        step = max(1, _SLAB_BYTES // row_bytes)
        for start in range(0, depth, step):
            stop = min(start + step, depth)
            yield self.read(group, Region((start, 0, 0), (stop, height, width)))

    def num_bytes(self, group: str) -> int:
        """Memory that a group takes in a batch's dtype."""
        itemsize = self.groups[group].batch_dtype.itemsize
        return math.prod(self.shape) * self.num_channels[group] * itemsize


def open_case(
    name: str,
    files: Mapping[str, tuple[str, ...]],
    groups: Mapping[str, groups_lib.Group],
) -> tuple[Case | None, list[Problem]]:
    """Reads the headers of a case; returns it, or what is wrong with it."""
    problems: list[Problem] = []
    infos: dict[str, _stored.Info] = {}
    for group_name, group in groups.items():
        paths = files[group_name]
        if len(paths) > 1:
            also = ", ".join(map(repr, paths[1:]))
            problems.append(
                Problem(name, paths[0], f"has the name of a second case, {also}")
            )
        if not paths:
            if not group.optional:
                what = f"is missing: there is no file of the group {group_name!r}"
                problems.append(
                    Problem(
                        name, group.pattern.replace(groups_lib.CASE, name), what
                    )
                )
            continue
        try:
            infos[group_name] = _stored.info(paths[0])
        except Exception as error:  # of a library, for a damaged file
            kind = "" if isinstance(error, VolumeError) else f"{type(error).__name__}: "
            problems.append(Problem(name, paths[0], f"cannot be read: {kind}{error}"))
    if problems or not infos:
        return None, problems
    problems += _grid_problems(name, infos, files)
    if problems:
        return None, problems
    first = next(iter(infos.values()))
    return (
        Case(
            name=name,
            files={group: files[group][0] for group in infos},
            groups=groups,
            shape=first.shape,
            geometry=first.geometry,
            num_channels={
                group: infos[group].num_channels if group in infos else 1
                for group in groups
            },
        ),
        [],
    )


def _grid_problems(
    name: str,
    infos: Mapping[str, _stored.Info],
    files: Mapping[str, tuple[str, ...]],
) -> list[Problem]:
    """Returns which groups lie on another grid than the first one."""
    problems = []
    first, *others = infos
    usual = infos[first]
    for group in others:
        info = infos[group]
        if info.shape != usual.shape:
            what = f"has the shape {info.shape}, {first!r} {usual.shape}"
        elif not info.geometry.is_close(usual.geometry):
            what = f"lies elsewhere than {first!r}: {_difference(info, usual)}"
        else:
            continue
        problems.append(
            Problem(
                name,
                files[group][0],
                f"{what} (z, y, x). Resample one of them to the grid of the other",
            )
        )
    return problems


def _difference(info: _stored.Info, usual: _stored.Info) -> str:
    a, b = info.geometry, usual.geometry
    for what in ("spacing_mm", "origin", "direction"):
        of_a, of_b = getattr(a, what), getattr(b, what)
        if not np.allclose(of_a, of_b, atol=1e-6):
            return f"its {what} is {np.round(of_a, 6).tolist()}, not {np.round(of_b, 6).tolist()}"
    return "by more than 1e-3 mm"
