"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.launch._backend import Backend as Backend
from kauldron.launch._backend import Handle as Handle
from kauldron.launch._backend import LaunchError as LaunchError
from kauldron.launch._backend import State as State
from kauldron.launch._backend import Status as Status
from kauldron.launch._backend import Task as Task
from kauldron.launch._commands import Commands as Commands
from kauldron.launch._local import Local as Local
from kauldron.launch.jobs._job import Job as Job
from kauldron.launch.jobs._job_logs import job_logs as job_logs
from kauldron.launch.jobs._job_of_config import LaunchDescription as LaunchDescription
from kauldron.launch.jobs._job_of_config import describe_launch as describe_launch
from kauldron.launch.jobs._job_status import JobStatus as JobStatus
from kauldron.launch.jobs._job_status import cancel_job as cancel_job
from kauldron.launch.jobs._job_status import list_jobs as list_jobs
from kauldron.launch.jobs._job_status import read_job as read_job
from kauldron.launch.jobs._job_status import status_of_job as status_of_job
from kauldron.launch.jobs._launching import run_job as run_job
from kauldron.launch.jobs._launching import start_job as start_job
from kauldron.launch.slurm._slurm import Slurm as Slurm
from kauldron.launch.sweeps._command_line import SweepRequest as SweepRequest
from kauldron.launch.sweeps._command_line import choose_backend as choose_backend
from kauldron.launch.sweeps._folder import describe_plan as describe_plan
from kauldron.launch.sweeps._live import show_live as show_live
from kauldron.launch.sweeps._overview import Overview as Overview
from kauldron.launch.sweeps._overview import read_sweep as read_sweep
from kauldron.launch.sweeps._proposals import Proposer as Proposer
from kauldron.launch.sweeps._running import SweepInterrupted as SweepInterrupted
from kauldron.launch.sweeps._running import run_sweep as run_sweep
from kauldron.launch.sweeps._sweep import Sweep as Sweep
from kauldron.launch.sweeps._trial_status import TrialState as TrialState
from kauldron.launch.sweeps._trial_status import TrialStatus as TrialStatus
from kauldron.workdir.metric_names import chosen_metric as chosen_metric
from kauldron.workdir.sweep_file import Trial as Trial

__all__ = [
    "Backend",
    "Commands",
    "Handle",
    "Job",
    "JobStatus",
    "LaunchDescription",
    "LaunchError",
    "Local",
    "Overview",
    "Proposer",
    "Slurm",
    "State",
    "Status",
    "Sweep",
    "SweepInterrupted",
    "SweepRequest",
    "Task",
    "Trial",
    "TrialState",
    "TrialStatus",
    "cancel_job",
    "choose_backend",
    "chosen_metric",
    "describe_launch",
    "describe_plan",
    "job_logs",
    "list_jobs",
    "read_job",
    "read_sweep",
    "run_job",
    "run_sweep",
    "show_live",
    "start_job",
    "status_of_job",
]
