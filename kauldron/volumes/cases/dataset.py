"""`VolumeCases`: batches of 3-D cases, or of their patches."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from kauldron import data
from kauldron._base import console, errors, root_refs
from kauldron.volumes.cases import (
    _cache,
    _case,
    _checks,
    _reading,
    _source,
    _table,
    selection,
)
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.patches import grids
from kauldron.volumes.transforms import chain as transforms
from kauldron.workdir import data_records


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
      path: A folder, or several.
      groups: Name -> `Group`, or just its file.
      combine: With several folders, `'union'`: a case may have its files in any of them.
        `'intersection'`: cases are those of which every folder has a file.
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
      check_voxels: Whether all voxels are read before the first batch, to find damaged
        files, NaN and infinite values, and labels that are out of range.
      cache: Whether volumes are kept in memory after their transforms: `'ram'`, `'none'`,
        or `'auto'`: those of which a part cannot be read cheaply.
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
    augment: Any = dataclasses.field(default=None, kw_only=True)
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

    def _case(self, name: str, group: str) -> _case.Case:
        case = next((c for c in self._checked.cases if c.name == name), None)
        if case is None:
            raise VolumeError(
                f"There is no case {name!r} in the dataset."
                f"{errors.did_you_mean(name, self.case_names)}"
            )
        if group not in case.files:
            raise VolumeError(
                f"The case {name!r} has no {group!r}: it has {sorted(case.files)}."
                f"{errors.did_you_mean(group, case.files)}"
            )
        return case

    @functools.cached_property
    def data_source(self) -> _source.CaseSource:
        plan = _source.Plan(
            groups=self._groups,
            patches=self.patches,
            patches_per_case=self.patches_per_case,
            augment=self.augment,
            cases_at_once=self.cases_at_once,
        )
        self._tell_small_cases()
        return _source.CaseSource(self._checked.cases, plan, self._reading)

    def _tell_small_cases(self) -> None:
        """Says which cases are smaller than a patch: those are padded."""
        if self.patches is None:
            return
        small = [
            f"{case.name} {case.shape}"
            for case in self._checked.cases
            if any(
                n < size
                for n, size in zip(
                    case.shape, self.patches.patch_size(case.shape), strict=True
                )
            )
        ]
        if small:
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            console.log(
                f"{len(small)} of {len(self._checked.cases)} cases are smaller than a "
                f"patch, {self.patches.size}, which is filled up with "
                f"{self.patches.pad:g}: {', '.join(small[:5])}{more}."
            )

    @functools.cached_property
    def _reading(self) -> _reading.Reading:
        max_bytes = 0
        if self.cache != "none":
            total = self.cache_bytes
            total = _cache.default_budget() if total is None else total
            max_bytes = total // max(1, self.num_workers or 1)
        return _reading.Reading(_cache.Cache(max_bytes), self.cache)

    def run_records(self) -> list[dict[str, Any]]:
        skipped = {
            problem.case: problem.what for problem in self._checked.problems
        } | self._skipped_before
        record = {
            "source": self._identity,
            "cases": list(self.case_names),
            "skipped": skipped,
        }
        return [record]

    @functools.cached_property
    def _checked(self) -> _checks.Checked:
        """The cases, found and checked once, also for evaluation."""
        owner = self.__dict__.get("_shares_data_with")
        return self._check() if owner is None else owner._checked

    def _check(self) -> _checks.Checked:
        found = _table.find(self._roots, self._groups, combine=self.combine)
        chosen = self._chosen(list(found.files))
        files = {name: found.files[name] for name in chosen}
        reading = self._reading if self.check_voxels else None
        checked = _checks.check(files, self._groups, reading=reading)
        if not checked.problems:
            return checked
        message = _checks.describe(checked.problems, len(files))
        if self.on_bad_case == "raise":
            raise _checks.BadCasesError(
                f"{message}\nMend them, leave them out with `select=['~name']`, or set "
                "`on_bad_case='skip'`.",
                checked.problems,
            )
        if not checked.cases:
            raise _checks.BadCasesError(message, checked.problems)
        if self._record is not None:
            raise _checks.BadCasesError(
                f"{message}\nThe run in {os.fspath(self.workdir)} began with them. Mend "
                "them, or begin anew in another workdir.",
                checked.problems,
            )
        console.warn(f"{message}\n{len(checked.cases)} cases are used.")
        return checked

    def _chosen(self, names: list[str]) -> list[str]:
        """Returns the cases that are to be used: those of the run, if it has begun."""
        record = self._record
        if record is None:
            chosen = selection.selected(names, self.select)
            return chosen if self.split is None else self.split.of(chosen)
        lacks = [name for name in record["cases"] if name not in names]
        if lacks:
            raise VolumeError(
                f"The run in {os.fspath(self.workdir)} began with the cases "
                f"{lacks[:10]}, which are no longer in {self._roots}. Bring them back, "
                "or begin anew in another workdir."
            )
        return list(record["cases"])

    @functools.cached_property
    def _record(self) -> Mapping[str, Any] | None:
        workdir = self.workdir
        if workdir is None or isinstance(workdir, root_refs.RootCfgRef):
            return None
        return data_records.find(workdir, self._identity)

    @property
    def _skipped_before(self) -> dict[str, str]:
        return {} if self._record is None else dict(self._record["skipped"])

    @property
    def _identity(self) -> dict[str, Any]:
        """What the choice of cases depends on, JSON-able."""
        split = self.split
        return {
            "path": self._roots,
            "files": {name: group.file for name, group in self._groups.items()},
            "combine": self.combine,
            "select": _plain(self.select),
            "split": None
            if split is None
            else {
                f.name: _plain(getattr(split, f.name))
                for f in dataclasses.fields(split)
            },
        }


def _plain(value: Any) -> Any:
    """Returns lists and dicts for what a config may hold instead."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
