"""Which cases a dataset has: those that are chosen now, or those of the run."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron._base import console, root_refs
from kauldron.volumes.cases import _table, selection
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.workdir import data_records


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What says which cases are taken.

    Attributes:
      roots: Folders.
      groups: By name.
      combine: `'union'` or `'intersection'` of the roots.
      select: See `selection.selected`.
      split: A part of what is selected.
      workdir: Of the run; not bound outside of one.
    """

    roots: Sequence[str]
    groups: Mapping[str, groups_lib.Group]
    combine: str
    select: Any
    split: selection.Split | None
    workdir: Any

    @property
    def identity(self) -> dict[str, Any]:
        """What the choice depends on, JSON-able."""
        split = self.split
        return {
            "path": list(self.roots),
            "files": {name: group.file for name, group in self.groups.items()},
            "combine": self.combine,
            "select": _plain(self.select),
            "split": None if split is None else _plain(vars(split)),
        }

    @functools.cached_property
    def record(self) -> Mapping[str, Any] | None:
        """What the run has recorded of it; `None` if it has not begun."""
        if self.workdir is None or isinstance(self.workdir, root_refs.RootCfgRef):
            return None
        return data_records.find(self.workdir, self.identity)

    def files(self) -> dict[str, Mapping[str, tuple[str, ...]]]:
        """Returns the files of the chosen cases: case -> group -> files.

        Raises:
          VolumeError: If there is none, or one of the run has gone.
        """
        found = _table.find(self.roots, self.groups, combine=self.combine).files
        return {name: found[name] for name in self._names(list(found))}

    def _names(self, there: list[str]) -> list[str]:
        record = self.record
        if record is None:
            return self._selected(there)
        lacks = [name for name in record["cases"] if name not in there]
        if lacks:
            raise VolumeError(
                f"The run in {os.fspath(self.workdir)} began with the cases "
                f"{lacks[:10]}, which are no longer in {self.roots}. Bring them back, or "
                "begin anew in another workdir."
            )
        self._tell_added(there, record)
        return list(record["cases"])

    def _selected(self, there: list[str]) -> list[str]:
        chosen = selection.selected(there, self.select)
        return chosen if self.split is None else self.split.of(chosen)

    def _tell_added(self, there: list[str], record: Mapping[str, Any]) -> None:
        """Says which cases the run would have, had it begun now."""
        known = {*record["cases"], *record["skipped"]}
        try:
            added = [name for name in self._selected(there) if name not in known]
        except VolumeError:  # such as a list of names that has gone
            return
        if added:
            more = f" and {len(added) - 5} more" if len(added) > 5 else ""
            console.log(
                f"The run in {os.fspath(self.workdir)} goes on with its "
                f"{len(record['cases'])} cases, without {', '.join(added[:5])}{more}: a run in another workdir "
                "would have them."
            )


def _plain(value: Any) -> Any:
    """Returns lists and dicts for what a config may hold instead."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
