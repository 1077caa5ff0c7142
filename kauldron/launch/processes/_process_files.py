"""Logs and records of the processes of a run; each file has one writer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """One process of a run.

    Attributes:
      index: In the run.
      start: Which start of the job, counted from 0.
      host: Machine it is on.
      pid: Its process id there.
      started: When, seconds since 1970.
      ended: When it ended, seconds since 1970; `None` while it runs.
      exit_code: Negative if a signal ended it.
    """

    index: int
    start: int
    host: str
    pid: int | None = None
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None


def state_of(record: str) -> pathlib.Path:
    """Returns the folder beside `Task.record` for what several processes write."""
    return pathlib.Path(record).with_suffix("")


def log_of(log: str, index: int) -> pathlib.Path:
    """Returns the log of a process: `{index}` in `log` becomes its index.

    Without it, process 0 has `log`, and the others have their index behind it.
    """
    if "{index}" in log:
        return pathlib.Path(log.replace("{index}", str(index)))
    return pathlib.Path(f"{log}.{index}" if index else log)


def tell(log: str, index: int, message: str) -> None:
    """Adds a line about a process to its log; with a full disk it is lost."""
    path = log_of(log, index)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as f:
            f.write(f"--- {message} ---\n")


def read_processes(folder: str | os.PathLike[str]) -> list[ProcessRecord]:
    """Returns the records of processes in a folder, by index."""
    found = map(read, pathlib.Path(folder).glob("process_*.json"))
    records = [ProcessRecord(**fields) for fields in found if fields is not None]
    return sorted(records, key=lambda r: r.index)


def write_process(folder: str | os.PathLike[str], record: ProcessRecord) -> None:
    """Writes the record of a process."""
    path = pathlib.Path(folder) / f"process_{record.index}.json"
    write(path, dataclasses.asdict(record))


def read(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the fields of a JSON file; `None` if it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (*shared_files.MISSING, ValueError):
        return None


def write(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
    """Writes a JSON file, so that a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shared_files.write_atomically(epath.Path(path), json.dumps(fields, indent=2))
