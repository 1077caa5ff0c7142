"""`kd.launch`: sweeps and jobs, on this machine and on clusters.

A trial is a workdir with a stable name and a command line; a sweep is a folder with a
table; a backend only starts, asks and stops processes. Imports no JAX.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.launch"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # backends
        **_names("slurm._slurm", "Slurm"),
        # sweeps
        # jobs
        **_names("jobs._job", "Job"),
        **_names("jobs._job_of_config", "LaunchDescription describe_launch"),
        **_names("jobs._job_status", "JobStatus cancel_job list_jobs read_job"),
        **_names("jobs._job_logs", "job_logs"),
        **_names("jobs._job_status", "status_of_job"),
        **_names("jobs._launching", "run_job start_job"),
    },
)
