"""Records of data: which examples a run is made of, `workdir/data_records.json`.

A dataset that chooses from what a folder holds today says what it chose. When the run
goes on, or is evaluated, it finds its record again and keeps to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.workdir import workdirs

FILE = "data_records.json"


def write(workdir: epath.PathLike, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes the records of all datasets of a run, if there are any.

    Args:
      workdir: Directory of the run.
      records: What `run_records()` of the datasets returned. Each has a `source`, which
        says what it is of; of equal ones the first is kept.
    """
    kept: dict[str, Mapping[str, Any]] = {}
    for record in records:
        kept.setdefault(_key(record["source"]), record)
    if kept:
        text = json.dumps(list(kept.values()), indent=2)
        shared_files.write_atomically(epath.Path(workdir) / FILE, text)


def copy(source: epath.PathLike, workdir: epath.PathLike) -> None:
    """Lets a run that is yet to begin have the data of another run.

    Args:
      source: Workdir of that run; nothing is done if it has no records.
      workdir: Of the run that is yet to begin.
    """
    path = epath.Path(source) / FILE
    if path.exists():
        target = epath.Path(workdir)
        target.mkdir(parents=True, exist_ok=True)
        shared_files.write_atomically(target / FILE, path.read_text())


def find(
    workdir: epath.PathLike, source: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Returns the record of a dataset; `None` if the run has none.

    Raises:
      WorkdirConfigError: If the file is damaged.
    """
    path = epath.Path(workdir) / FILE
    try:
        records = json.loads(path.read_text())
    except shared_files.MISSING:
        return None
    except json.JSONDecodeError as error:
        raise workdirs.WorkdirConfigError(
            f"{path} says which examples the run is made of, but is damaged: {error}. "
            "Remove it to choose them anew from the config."
        ) from error
    wanted = _key(source)
    return next((r for r in records if _key(r["source"]) == wanted), None)


def _key(source: Mapping[str, Any]) -> str:
    return json.dumps(source, sort_keys=True)
