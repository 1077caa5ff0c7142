"""What people say of a run: `workdir/tracking.json`, which goes where the run goes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files

FILE = "tracking.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notes:
    """What people say of a run; what is empty follows from the workdir.

    Attributes:
      name: How it is called.
      project: Its project.
      family: Its family.
      experiment: Its experiment.
      tags: Words by which it is found.
      archived: Whether lists leave it out.
      ids: Identity of a workspace -> the number of the run in it.
    """

    name: str = ""
    project: str = ""
    family: str = ""
    experiment: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False
    ids: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns what is not empty."""
        values = {**dataclasses.asdict(self), "tags": list(self.tags)}
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, values: object) -> Notes:
        """Returns notes of a file; what has another type is left out."""
        if not isinstance(values, Mapping):
            return cls()
        given: dict[str, Any] = {}
        for name in ("name", "project", "family", "experiment"):
            if isinstance(values.get(name), str):
                given[name] = values[name]
        if isinstance(tags := values.get("tags"), list):
            given["tags"] = tuple(x for x in tags if isinstance(x, str))
        if isinstance(ids := values.get("ids"), Mapping):
            given["ids"] = {k: v for k, v in ids.items() if type(v) is int and v > 0}
        return cls(archived=values.get("archived") is True, **given)


def read(workdir: str) -> Notes | None:
    """Returns the notes in a workdir; `None` if there are none, or they are damaged."""
    try:
        text = (epath.Path(workdir) / FILE).read_text()
        return Notes.from_json(json.loads(text))
    except (OSError, ValueError):
        return None


def change(workdir: str, default: Notes, **changes: Any) -> Notes:
    """Changes notes, others of which somebody else may change; returns all of them.

    Args:
      workdir: Of the run.
      default: What they are if the workdir has none.
      **changes: Fields; of `ids` those that are given are added.

    Raises:
      OSError: If they cannot be written.
    """
    path = epath.Path(workdir) / FILE
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {os.fspath(path.parent)!r}")
    with shared_files.exclusive(shared_files.lock_of(path)):
        before = read(workdir)
        notes = applied(before or default, **changes)
        if notes != before:
            text = json.dumps(notes.to_json(), indent=2)
            shared_files.write_atomically(path, text + "\n")
    return notes


def applied(notes: Notes, **changes: Any) -> Notes:
    """Returns notes that were changed, see `change`."""
    if "ids" in changes:
        changes["ids"] = {**notes.ids, **changes["ids"]}
    return dataclasses.replace(notes, **changes)
