"""`JobStatus`: where a job is, and the jobs of this user."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from typing import Literal

from kauldron._base import errors
from kauldron.launch import _backend
from kauldron.launch.jobs import _job, _job_files, _job_index
from kauldron.launch.processes import _process_files, process_group
from kauldron.workdir import run_status

JobState = Literal[
    "queued",
    "running",
    "stopping",
    "done",
    "interrupted",
    "cancelled",
    "failed",
    "lost",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobStatus:
    """One look at a job.

    Attributes:
      workdir: Of the run.
      on: `'local'` or `'slurm'`.
      state: `'queued'`, `'running'`; `'stopping'` when it was asked to save and end;
        `'done'`, `'failed'`; `'interrupted'` if it can be continued, `'cancelled'` if
        somebody wanted that; `'lost'` if it is gone without an exit code.
      exit_code: Of the run, when it is over.
      reason: Why, in the words of the backend.
      num_processes: Of the run.
      num_restarts: How often it was started again.
      job_id: Of Slurm.
      step: Updates that the run has made, as far as it has told.
      last_step: Updates that it is to make.
    """

    workdir: str
    on: Literal["local", "slurm"]
    state: JobState
    exit_code: int | None
    reason: str
    num_processes: int
    num_restarts: int
    job_id: str | None = None
    step: int | None = None
    last_step: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing runs or waits."""
        return self.state not in ("queued", "running", "stopping")


def read_job(workdir: str | os.PathLike[str]) -> _job.Job:
    """Returns the job of a workdir.

    Raises:
      LaunchError: If it has none.
    """
    path = os.fspath(workdir)
    record = _job_files.JobFolder.of(path).read()
    if record is None:
        known = ", ".join(map(repr, _job_index.workdirs()[:5])) or "none"
        raise _backend.LaunchError(
            f"{path!r} has no job: nothing was started there with `kauldron launch`. "
            f"The workdirs that have one: {known}."
        )
    return _job.Job.from_record(path, record)


def status_of_job(workdir: str | os.PathLike[str]) -> JobStatus:
    """Returns where the job of a workdir is.

    Raises:
      LaunchError: If there is none, or its cluster cannot be asked from here.
    """
    job = read_job(workdir)
    handle = job.backend.find(job.task)
    found = job.backend.ask([handle])[0] if handle is not None else None
    run = None
    with contextlib.suppress(ValueError):  # a damaged file
        run = run_status.read(job.workdir)
    return JobStatus(
        workdir=job.workdir,
        on="local" if job.slurm is None else "slurm",
        state=_state(job, found),
        exit_code=found.exit_code if found is not None else None,
        reason=found.reason if found is not None else "it was not started",
        num_processes=job.task.num_processes,
        num_restarts=_num_restarts(job),
        job_id=handle.get("job_id") if handle is not None else None,
        step=run.step if run is not None else None,
        last_step=run.last_step if run is not None else None,
    )


def list_jobs() -> list[JobStatus]:
    """Returns where the jobs of this user are, of workdirs still there.

    Those that wait or run come first; among equals the newest. Those whose cluster cannot be asked are `'lost'`.
    """
    found = []
    for workdir in _job_index.workdirs():
        try:
            found.append(status_of_job(workdir))
        except (errors.UserError, errors.Failure) as e:
            job = read_job(workdir)
            found.append(
                JobStatus(
                    workdir=workdir,
                    on="local" if job.slurm is None else "slurm",
                    state="lost",
                    exit_code=None,
                    reason=str(e),
                    num_processes=job.task.num_processes,
                    num_restarts=_num_restarts(job),
                )
            )
    return sorted(found, key=lambda status: status.is_over)


def cancel_job(workdir: str | os.PathLike[str]) -> JobStatus:
    """Lets the run of a job save and end, or takes it out of the queue; returns at once.

    It is not started again, until somebody launches it again.

    Returns:
      Where the job was before.

    Raises:
      LaunchError: If there is no job.
    """
    job = read_job(workdir)
    status = status_of_job(workdir)
    job.folder.cancel()
    if not status.is_over:
        handle = job.backend.find(job.task)
        if handle is not None:
            job.backend.stop([handle])
    return status


def _num_restarts(job: _job.Job) -> int:
    """Returns how often a job was started again."""
    if job.slurm is not None:
        return max((p.start for p in job.folder.read_processes()), default=0)
    record = job.folder.read()
    return len(record.ended) if record is not None else 0


def _state(job: _job.Job, found: _backend.Status | None) -> JobState:
    if found is None:
        return "lost"
    is_cancelled = job.folder.is_cancelled
    if found.state == _backend.State.PENDING:
        return "queued"
    if found.state == _backend.State.RUNNING:
        return "stopping" if is_cancelled else "running"
    if found.state == _backend.State.STOPPED:
        return "cancelled"
    if found.state == _backend.State.LOST:
        return "lost"
    if found.exit_code == process_group.EXIT_INTERRUPTED:
        return "cancelled" if is_cancelled else "interrupted"
    return "done" if found.exit_code in (0, 3) else "failed"


def first_failed(
    records: Sequence[_process_files.ProcessRecord],
) -> _process_files.ProcessRecord | None:
    """Returns the process that ended the run: the first that did not end with 0."""
    ended = [r for r in records if r.exit_code and r.ended is not None]
    return min(ended, key=lambda r: r.ended or 0.0, default=None)
