"""`sweep.json`: the trials of a sweep, or of a study, as they are kept in its folder.

```text
runs/sweep/
  sweep.json               what the sweep is, and its trials: name and overrides
  base_config.json         the config that all trials share
  tasks/NAME.json          the last start of a trial: when, where, its exit code
  tasks/NAME.log           what it printed
  NAME/                    the workdir of the trial, as of every run
```

Every file is replaced as a whole. Nothing else is kept: how a trial is doing follows from
its record, and from the `status.json` and `metrics.jsonl` of its workdir.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from kauldron._base import errors, shared_files

SWEEP_FILE = "sweep.json"
BASE_CONFIG_FILE = "base_config.json"
TASKS_FOLDER = "tasks"
_VERSION = 1


class SweepFileError(errors.UserError, ValueError):
    """A file of a sweep that is damaged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a sweep.

    Attributes:
      name: Says what differs; the name of its workdir in the folder of the sweep.
      overrides: Path -> value as on the command line: `{'seed': '1'}`.
    """

    name: str
    overrides: Mapping[str, str]

    @property
    def key(self) -> str:
        """Equal for trials that set the same, in whatever order."""
        return json.dumps(dict(self.overrides), sort_keys=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedSweep:
    """What `sweep.json` says.

    Attributes:
      config: Path of the config file, as given.
      flags: What all trials share, as flags.
      labels: Path -> its short name, in the names of trials.
      trials: All trials there ever were, in the order in which they came.
      metric: What trials are compared by, as given: `'eval.accuracy'`.
      mode: Whether its largest or its smallest value is the best: `'max'`, `'min'`.
      backend: What has started its trials last: `{'name': 'local', 'fields': {...}}`.
      trust: Packages that the config may name, if it is a `config.json` from elsewhere.
      created: When, in seconds since 1970.
    """

    config: str
    flags: Sequence[str]
    labels: Mapping[str, str]
    trials: Sequence[Trial]
    metric: str | None = None
    mode: str | None = None
    backend: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"name": "local", "fields": {}}
    )
    trust: Sequence[str] = ()
    created: float = 0.0


def read(folder: epath.PathLike) -> SavedSweep | None:
    """Returns what the sweep of a folder is; `None` if there is none.

    Raises:
      SweepFileError: If the file is damaged.
    """
    path = epath.Path(folder) / SWEEP_FILE
    try:
        content = json.loads(path.read_text())
        trials = [
            Trial(name=t["name"], overrides=t["overrides"]) for t in content["trials"]
        ]
        names = [f.name for f in dataclasses.fields(SavedSweep)]
        known = {k: v for k, v in content.items() if k in names}
        return SavedSweep(**{**known, "trials": trials})
    except shared_files.MISSING:
        return None
    except (ValueError, TypeError, KeyError) as e:
        raise SweepFileError(
            f"{os.fspath(path)!r} is damaged: {e}. Its trials are the folders beside it; "
            "remove the file to begin a sweep anew with them."
        ) from e


def write(folder: epath.PathLike, saved: SavedSweep) -> None:
    """Writes what the sweep of a folder is."""
    content = {"version": _VERSION, **dataclasses.asdict(saved)}
    shared_files.write_atomically(
        epath.Path(folder) / SWEEP_FILE, json.dumps(content, indent=2)
    )
