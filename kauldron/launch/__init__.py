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
        **_names("_backend", "Backend Handle LaunchError State Status Task"),
        **_names("_local", "Local"),
        **_names("_commands", "Commands"),
        # sweeps
        **_names("sweeps._sweep", "Sweep"),
        "Trial": "kauldron.workdir.sweep_file:Trial",
        **_names("sweeps._proposals", "Proposer"),
        **_names("sweeps._running", "SweepInterrupted run_sweep"),
        **_names("sweeps._command_line", "SweepRequest choose_backend"),
        "chosen_metric": "kauldron.workdir.metric_names:chosen_metric",
        **_names("sweeps._folder", "describe_plan"),
        **_names("sweeps._live", "show_live"),
        **_names("sweeps._overview", "Overview read_sweep"),
        **_names("sweeps._trial_status", "TrialState TrialStatus"),
        # jobs
        **_names("jobs._job", "Job"),
        **_names("jobs._job_of_config", "LaunchDescription describe_launch"),
        **_names("jobs._job_status", "JobStatus cancel_job list_jobs read_job"),
        **_names("jobs._job_logs", "job_logs"),
        **_names("jobs._job_status", "status_of_job"),
        **_names("jobs._launching", "run_job start_job"),
    },
)
