"""`job_logs`: the output of the processes of a job, while they write it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from kauldron.launch import _backend
from kauldron.launch.jobs import _job_status, _logs

_POLL_SECS = 0.3
_LOOK_EVERY_SECS = 3.0


def job_logs(
    workdir: str | os.PathLike[str], *, process: int | None = None, follow: bool = False
) -> Iterator[str]:
    """Yields the lines that the processes of a job have written, over all its starts.

    Args:
      workdir: Of the run.
      process: Only of this one; otherwise lines begin with `[index] ` if there are
        several.
      follow: Whether to wait for more until the job is over.

    Raises:
      LaunchError: If there is no job, or no such process.
    """
    job = _job_status.read_job(workdir)
    num = job.task.num_processes
    if process is not None and process >= num:
        raise _backend.LaunchError(
            f"The run has {num} processes, 0 to {num - 1}; there is no {process}."
        )
    chosen = range(num) if process is None else (process,)
    logs = _logs.Logs({index: job.folder.log(index) for index in chosen})
    next_look = 0.0
    is_over = not follow
    while not is_over:
        yield from logs.read_lines()
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK_EVERY_SECS
            is_over = _job_status.status_of_job(workdir).is_over
        time.sleep(_POLL_SECS)
    yield from logs.read_lines(whole=False)
