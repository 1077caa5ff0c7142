"""Which jobs this user has launched: a small file for each, in the user's state folder.

The workdirs are the truth. The index only says where they are; it can be thrown away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib

from kauldron.launch.jobs import _job_files
from kauldron.launch.processes import _process_files


def folder() -> pathlib.Path:
    """Returns where the index of this user is: `~/.local/state/kauldron/jobs`."""
    home = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state"
    return pathlib.Path(home) / "kauldron" / "jobs"


def add(workdir: str | os.PathLike[str]) -> None:
    """Notes a workdir; where the user has no writable home, none is noted."""
    path = os.path.abspath(workdir)
    name = hashlib.sha256(path.encode()).hexdigest()[:16]
    with contextlib.suppress(OSError, RuntimeError):
        _process_files.write(folder() / f"{name}.json", {"workdir": path})


def workdirs() -> list[str]:
    """Returns the workdirs that have a job, the newest first; forgets what is gone."""
    found: list[tuple[float, str]] = []
    try:
        files = sorted(folder().glob("*.json"))
    except (OSError, RuntimeError):
        return []
    for file in files:
        fields = _process_files.read(file)
        if fields is None:
            continue
        job = _job_files.JobFolder.of(fields["workdir"]).read()
        if job is None:
            with contextlib.suppress(OSError):
                file.unlink()
        else:
            found.append((job.created, fields["workdir"]))
    return [workdir for _, workdir in sorted(found, reverse=True)]
