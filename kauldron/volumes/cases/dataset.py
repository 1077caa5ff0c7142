"""`VolumeCases`: batches of 3-D cases, or of their patches."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from kauldron import data
from kauldron._base import console, errors, root_refs
from kauldron.volumes.augment.augmenting import Augment
from kauldron.volumes.cases import (
    _cache,
    _case,
    _choice,
    _places,
    _reading,
    _source,
    case_files,
    checks,
    selection,
)
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.patches import grids
from kauldron.volumes.transforms import chain as transforms

_LITTLE_BYTES = 2**28


@dataclasses.dataclass(frozen=True)
class VolumeCases(data.py.DataSourceBase):
    """Cases in folders: each is one example, or gives patches.

    Batches hold, for each group, `batch.<group>` `[b z y x c]` and
    `batch.<group>_geometry`, with `matrix` `f64[b 3 3]` and `origin` `f64[b 3]`; further
    `batch.case`, the names, and of patches `batch.start` `i32[b 3]`, their first voxel.
    All groups of a case lie on one grid, after their transforms.

    The cases are chosen in this order: those that are there (`path`, `combine`), `select`,
    `split`, those that can be used (`on_bad_case`). A run keeps the choice in its workdir,
    and goes on with it even if cases were added.

    Attributes:
      path: A folder, or several; or `CaseFiles`, which name each file.
      groups: Name -> `Group`, or just its file.
      combine: With several folders, `'union'`: a case may have its files in any of them.
        `'intersection'`: cases are those of which every folder has a file, such as of
        images and labels those that have labels.
      select: Names, patterns, positions, ranges `'10:20'`, files `'val.txt'`, with `~` in
        front all others; or a list of these. All unless given.
      split: A part of what is selected.
      patches: `PatchGrid`, all patches of each case; `RandomPatch`, some of them, drawn
        anew in every epoch; `None`, whole cases.
      patches_per_case: How many random patches each case gives in an epoch.
      augment: `kd.volumes.augment.Augment`: drawn anew in every epoch, once for all groups
        and patches of a case.
      on_bad_case: `'raise'`, or `'skip'`: cases that cannot be used are left out, told and
        counted.
      check_voxels: Whether all voxels are read before the first batch, as they are after
        the transforms, to find damaged files, NaN and infinite values, and labels that
        are out of range.
      cache: Whether volumes are kept in memory after their transforms: `'ram'`, `'none'`,
        or `'auto'`: those of which a part cannot be read cheaply, and all if they take
        less than 256 MiB together.
      cache_bytes: Up to how many bytes, over all workers; half of the available memory
        unless given.
      shuffle: Whether the order is drawn anew in every epoch.
      cases_at_once: Patches come from so many cases at a time, so that each volume is read
        once in an epoch even if few fit into memory; `None` mixes those of all cases.

    Raises:
      VolumeError: If a value cannot work.
      BadCasesError: When the cases are first needed: lists all that cannot be used.

    Example:

    ```python
    ds = kd.volumes.VolumeCases(
        "data/liver",
        groups={"ct": "ct.nii.gz", "seg": kd.volumes.Group("seg.nii.gz", is_label=True)},
        split=kd.volumes.Split("train", {"train": 0.8, "val": 0.2}),
        patches=kd.volumes.RandomPatch((64, 64, 64), foreground_prob=0.3, by="seg"),
        batch_size=2,
    )
    ```
    """

    __root_cfg_fields_to_recurse__: ClassVar[tuple[str, ...]] = ()

    path: Any
    groups: Mapping[str, Any] = dataclasses.field(kw_only=True)
    combine: str = dataclasses.field(default="union", kw_only=True)
    select: Any = dataclasses.field(default=None, kw_only=True)
    split: selection.Split | None = dataclasses.field(default=None, kw_only=True)
    patches: grids.PatchGrid | grids.RandomPatch | None = dataclasses.field(
        default=None, kw_only=True
    )
    patches_per_case: int = dataclasses.field(default=1, kw_only=True)
    augment: Augment | None = dataclasses.field(default=None, kw_only=True)
    on_bad_case: str = dataclasses.field(default="raise", kw_only=True)
    check_voxels: bool = dataclasses.field(default=False, kw_only=True)
    cache: str = dataclasses.field(default="auto", kw_only=True)
    cache_bytes: int | None = dataclasses.field(default=None, kw_only=True)
    shuffle: bool = dataclasses.field(default=True, kw_only=True)
    cases_at_once: int | None = dataclasses.field(default=None, kw_only=True)
    workdir: Any = dataclasses.field(
        default=root_refs.ROOT_CFG_REF.workdir, kw_only=True, repr=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (
            ("combine", ("union", "intersection")),
            ("on_bad_case", ("raise", "skip")),
            ("cache", ("auto", "ram", "none")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise VolumeError(
                    f"`{name}` is one of {list(allowed)}: got {value!r}."
                    f"{errors.did_you_mean(str(value), allowed)}"
                )
        for name in ("patches_per_case", "cases_at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise VolumeError(f"`{name}` must be at least 1: got {value}.")
        is_random = isinstance(self.patches, grids.RandomPatch)
        if self.patches_per_case != 1 and not is_random:
            raise VolumeError(
                f"`patches_per_case={self.patches_per_case}` is for a "
                "`kd.volumes.RandomPatch`: got "
                f"patches={self.patches!r}."
            )
        by = getattr(self.patches, "by", None)
        if by is not None and by not in self._groups:
            raise VolumeError(
                f"`patches.by` is {by!r}, which is none of the groups "
                f"{sorted(self._groups)}.{errors.did_you_mean(by, self._groups)}"
            )
        _ = self._groups, self._paths

    @functools.cached_property
    def _groups(self) -> dict[str, groups_lib.Group]:
        return groups_lib.as_groups(self.groups)

    @property
    def _paths(self) -> Sequence[Any]:
        path = self.path
        if isinstance(path, case_files.CaseFiles):
            return ()
        paths = [path] if isinstance(path, str | os.PathLike) else path
        if not isinstance(paths, Sequence) or not paths:
            raise VolumeError(
                f"`path` is the folder of the cases, or a list of folders: got {path!r}."
            )
        return paths

    @functools.cached_property
    def _roots(self) -> list[str]:
        # A path-like object may make the folder when it is asked for it: not before.
        return [os.fspath(p) for p in self._paths]

    def __iter__(self) -> data.iters.Iterator:
        if self.batch_size is not None and not self.transforms:
            cases = self._checked.cases
            _places.check_shapes(
                cases, self._plan, self.batch_size, is_shuffled=self.shuffle
            )
        return super().__iter__()

    @property
    def case_names(self) -> tuple[str, ...]:
        """Names of the cases, in their order."""
        return tuple(case.name for case in self._checked.cases)

    def open(self, case: str, group: str) -> transforms.Opened:
        """Returns a group of a case, to be read by regions after its transforms.

        Its `undo` leads what a model predicts back to the grid of the file.

        Args:
          case: Its name.
          group: A group that the case has.

        Raises:
          VolumeError: If there is no such case, or it lacks the group.
        """
        return self._case(case, group).open(group)

    def file(self, case: str, group: str) -> str:
        """Returns the file of a group of a case.

        Raises:
          VolumeError: If there is no such case, or it lacks the group.
        """
        return self._case(case, group).files[group]

    def shape(self, case: str) -> Shape:
        """Returns the shape of all groups of a case, (z, y, x), after their transforms.

        Raises:
          VolumeError: If there is no such case.
        """
        return self._named(case).shape

    def region(self, case: str, region: Region) -> dict[str, Any]:
        """Returns a region of a case as whole cases are in batches, but not batched.

        Nothing is augmented, and the geometry is that of the region.

        Args:
          case: Its name.
          region: Of the volumes after their transforms.

        Raises:
          VolumeError: If there is no such case, or it cannot be read.
        """
        return self.data_source.region(self._named(case), region)

    def _named(self, name: str) -> _case.Case:
        case = next((c for c in self._checked.cases if c.name == name), None)
        if case is None:
            raise VolumeError(
                f"There is no case {name!r} in the dataset."
                f"{errors.did_you_mean(name, self.case_names)}"
            )
        return case

    def _case(self, name: str, group: str) -> _case.Case:
        case = self._named(name)
        if group not in case.files:
            raise VolumeError(
                f"The case {name!r} has no {group!r}: it has {sorted(case.files)}."
                f"{errors.did_you_mean(group, case.files)}"
            )
        return case

    @functools.cached_property
    def data_source(self) -> _source.CaseSource:
        cases = self._checked.cases
        _places.tell_small(cases, self.patches)
        reading = self._reading
        if self.cache == "auto" and _num_bytes(cases) <= _LITTLE_BYTES:
            reading = reading.with_mode("ram")
        return _source.CaseSource(cases, self._plan, reading)

    @property
    def _plan(self) -> _places.Plan:
        return _places.Plan(
            groups=self._groups,
            patches=self.patches,
            patches_per_case=self.patches_per_case,
            augment=self.augment,
            cases_at_once=self.cases_at_once,
        )

    @functools.cached_property
    def _reading(self) -> _reading.Reading:
        max_bytes = 0
        if self.cache != "none":
            total = self.cache_bytes
            total = _cache.default_budget() if total is None else total
            max_bytes = total // max(1, self.num_workers or 1)
        return _reading.Reading(_cache.Cache(max_bytes), self.cache)

    @property
    def keys_of_the_host(self) -> list[str]:
        return [f"{name}_geometry" for name in self._groups]

    def run_records(self) -> list[dict[str, Any]]:
        checked = self._checked
        before = {} if self._choice.record is None else self._choice.record["skipped"]
        skipped = {problem.case: problem.what for problem in checked.problems}
        return [
            {
                "source": self._choice.identity,
                "cases": list(self.case_names),
                "skipped": before | skipped,
            }
        ]

    @functools.cached_property
    def _choice(self) -> _choice.Choice:
        return _choice.Choice(
            roots=self._roots,
            groups=self._groups,
            combine=self.combine,
            select=self.select,
            split=self.split,
            workdir=self.workdir,
        )

    @functools.cached_property
    def _checked(self) -> checks.Checked:
        """The cases, found and checked once, also for evaluation."""
        owner = self.__dict__.get("_shares_data_with")
        return self._check() if owner is None else owner._checked

    def _check(self) -> checks.Checked:
        if isinstance(self.path, case_files.CaseFiles):
            files = self.path.of_groups(self._groups)
        else:
            files = self._choice.files()
        reading = self._reading if self.check_voxels else None
        checked = checks.check(files, self._groups, reading=reading)
        if not checked.problems:
            return checked
        message = checks.describe(checked.problems, len(files))
        advice = None
        if self.on_bad_case == "raise":
            advice = (
                "Mend them, leave them out with `select=['~name']`, or set "
                "`on_bad_case='skip'`."
            )
        elif not checked.cases:
            advice = "No case is left."
        elif self._choice.record is not None:
            advice = (
                f"The run in {os.fspath(self.workdir)} began with them. Mend them, or "
                "begin anew in another workdir."
            )
        if advice is not None:
            raise checks.BadCasesError(f"{message}\n{advice}", checked.problems)
        console.warn(f"{message}\n{len(checked.cases)} cases are used.")
        return checked


def _num_bytes(cases: Sequence[_case.Case]) -> int:
    return sum(case.num_bytes(group) for case in cases for group in case.files)
