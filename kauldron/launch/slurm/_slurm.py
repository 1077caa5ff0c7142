"""`Slurm`: tasks as jobs of a Slurm cluster, submitted through submitit."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kauldron._base import process_signals
from kauldron.launch import _backend
from kauldron.launch.processes import _process_files, process_group
from kauldron.launch.slurm import _in_job, _queue

_LOG_VARIABLE = "SUBMITIT_LOG_LEVEL"

# Of the state of a task: what submitit writes, and what Slurm says.
_OUTPUT_FOLDER = "submitit"

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slurm:
    """Runs each task as a job of Slurm, over one node or several.

    A job that is preempted, or comes to its time limit, saves, puts itself into the
    queue again, and continues. The folder of the task must be one that all nodes see.
    Needs the extra `kauldron[launch]`.

    Attributes:
      partition: Slurm's default one unless given.
      time: Limit for each start: minutes, or text as Slurm has it, `'1-12:00:00'`.
      nodes: Machines of each task.
      gpus_per_node: GPUs on each of them; divided among the processes of a node.
      gpu_type: Which, as Slurm calls them, such as `'h100'`; any unless given.
      cpus_per_node: CPU cores on each of them; Slurm's default, often one, unless given.
      mem_gb: Memory on each of them; Slurm's default unless given.
      account: Who pays.
      qos: Quality of service.
      constraint: Features that a node must have, such as `'a100|h100'`.
      signal_secs: How long before the limit the task is asked to save.
      max_restarts: How often a job is requeued after it was interrupted.
      setup: Lines of shell that run before, such as `('module load cuda',)`.
      options: Further options of `sbatch`, by name: `{'nice': 100}`.
      executor: `'local'` runs the jobs on this machine, without Slurm, to try this out.
    """

    partition: str | None = None
    time: int | str = 60
    nodes: int = 1
    gpus_per_node: int = 0
    gpu_type: str | None = None
    cpus_per_node: int | None = None
    mem_gb: float | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    signal_secs: int = 120
    max_restarts: int = 20
    setup: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    executor: Literal["slurm", "local"] = "slurm"

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("gpus_per_node", 0), ("max_restarts", 0)):
            if getattr(self, name) < least:
                raise _backend.LaunchError(
                    f"`Slurm({name}=...)` is at least {least}, got {getattr(self, name)}."
                )
        if self.executor == "local" and self.nodes > 1:
            raise _backend.LaunchError(
                f"This machine is one node; {self.nodes} are asked for. Use `nodes=1`, "
                "and several processes."
            )
        if self.signal_secs >= 60 * self.minutes:
            raise _backend.LaunchError(
                f"A job of {self.minutes} minutes cannot be asked to save "
                f"{self.signal_secs} s before its limit: raise `time`, or lower "
                "`signal_secs`."
            )

    @property
    def parallel(self) -> None:
        """Slurm has a queue of its own."""
        return None

    @property
    def minutes(self) -> int:
        """The time limit in minutes, rounded up.

        Raises:
          LaunchError: If `time` cannot be read.
        """
        match = _TIME.fullmatch(str(self.time).strip())
        if match is None:
            raise _backend.LaunchError(
                f"`time` is in minutes, or as '2:30:00' or '1-12:00:00', got {self.time!r}."
            )
        parts = [int(part) for part in match["rest"].split(":")]
        if match["days"] is not None:  # days-hours[:minutes[:seconds]]
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            hours += 24 * int(match["days"])
        elif len(parts) == 3:
            hours, minutes, seconds = parts
        else:  # minutes[:seconds]
            hours, minutes, seconds = 0, *(*parts, 0)[:2]
        return 60 * hours + minutes + (seconds > 0)

    def check(self) -> None:
        """Finds out whether jobs can be submitted from here.

        Raises:
          LaunchError: If submitit or Slurm is missing, or the partition does not exist.
        """
        _import_submitit()
        if self.executor == "local":
            return
        for program in ("sbatch", "srun"):
            if shutil.which(program) is None:
                raise _queue.no_slurm(program)
        try:
            _queue.check_partition(self.partition, self.nodes)
        except _queue.SlurmFailed as e:
            raise _backend.LaunchError(
                f"No cluster of Slurm answers here: {e} Start this on a login node, or "
                "run on this machine: `--on=local`."
            ) from e

    def start(self, task: _backend.Task) -> _backend.Handle:
        """Submits a task.

        Raises:
          LaunchError: If the processes cannot be divided, or Slurm refuses the job.
        """
        process_group.check_division(
            num_processes=task.num_processes,
            num_nodes=self.nodes,
            gpus_per_node=self.gpus_per_node,
        )
        state = _process_files.state_of(os.path.abspath(task.record))
        shutil.rmtree(state, ignore_errors=True)  # of an earlier job
        state.mkdir(parents=True)
        # If this process is killed now, the job is found by its comment.
        handle = {
            "backend": "slurm",
            "executor": self.executor,
            "comment": f"kauldron-{uuid.uuid4().hex}",
            "state": os.fspath(state),
        }
        _process_files.write(pathlib.Path(task.record), handle)
        handle["job_id"] = self._submit(task, state, handle["comment"])
        _process_files.write(pathlib.Path(task.record), handle)
        return handle

    def _submit(self, task: _backend.Task, state: pathlib.Path, comment: str) -> str:
        submitit = _import_submitit()
        function = _in_job.NodeTask(
            args=task.args,
            env=dict(task.env),
            log=os.path.abspath(task.log),
            state=os.fspath(state),
            num_processes=task.num_processes,
            gpus_per_node=self.gpus_per_node,
            max_restarts=self.max_restarts,
        )
        if self.executor == "local":
            executor = submitit.LocalExecutor(state / _OUTPUT_FOLDER)
            executor.update_parameters(
                timeout_min=self.minutes,
                signal_delay_s=self.signal_secs,
                gpus_per_node=self.gpus_per_node,
                setup=self.setup,
                stderr_to_stdout=True,
            )
            return executor.submit(function).job_id
        executor = submitit.SlurmExecutor(state / _OUTPUT_FOLDER)
        executor.update_parameters(**self._parameters(task.name, comment))
        try:
            return executor.submit(function).job_id
        except submitit.core.utils.FailedJobError as e:
            raise _backend.LaunchError(f"Slurm refuses the job: {e}") from e

    def _parameters(self, name: str, comment: str) -> dict[str, Any]:
        """Returns the parameters of submitit's `SlurmExecutor`."""
        gib = self.mem_gb
        parameters = {
            "job_name": f"kd-{name}",
            "partition": self.partition,
            "time": self.minutes,
            "nodes": self.nodes,
            "ntasks_per_node": 1,
            "gpus_per_node": self._gpus(),
            "cpus_per_task": self.cpus_per_node,
            "srun_args": self._srun_args(),
            "mem": None if gib is None else f"{round(1024 * gib)}M",
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "comment": comment,
            "signal_delay_s": self.signal_secs,
            "setup": list(self.setup) or None,
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True, **self.options},
        }
        return {k: v for k, v in parameters.items() if v is not None}

    def _srun_args(self) -> list[str] | None:
        """Since Slurm 22.05, srun does not take this over from sbatch."""
        cpus = self.cpus_per_node
        return None if cpus is None else [f"--cpus-per-task={cpus}"]

    def _gpus(self) -> int | str | None:
        if self.gpus_per_node and self.gpu_type:
            return f"{self.gpu_type}:{self.gpus_per_node}"
        return self.gpus_per_node or None

    def find(self, task: _backend.Task) -> _backend.Handle | None:
        """Returns the handle of the job of a task; `None` if it was not submitted."""
        handle = _process_files.read(pathlib.Path(task.record))
        if handle is None or "job_id" in handle:
            return handle
        if handle["executor"] == "local":
            return None
        for job_id, job in _queue.jobs().items():
            if job.comment == handle["comment"]:
                return {**handle, "job_id": job_id}
        return None

    def ask(self, handles: Sequence[_backend.Handle]) -> list[_backend.Status]:
        """Returns where jobs are, in the order given."""
        jobs = _queue.jobs() if any(map(_is_of_slurm, handles)) else {}
        return [
            _status(handle, jobs.get(handle["job_id"]))
            if _is_of_slurm(handle)
            else _status_of_local(handle)
            for handle in handles
        ]

    def stop(self, handles: Sequence[_backend.Handle]) -> None:
        """Lets running jobs save and end, and takes waiting ones out of the queue."""
        for handle in handles:
            folder = pathlib.Path(handle["state"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _in_job.STOP_FILE).touch()
            if not _is_of_slurm(handle):
                _terminate_local(handle)
        jobs = _queue.jobs() if any(map(_is_of_slurm, handles)) else {}
        ids = [h["job_id"] for h in handles if _is_of_slurm(h) and h["job_id"] in jobs]
        _queue.remove([i for i in ids if jobs[i].is_waiting])
        running = [i for i in ids if not (jobs[i].is_waiting or jobs[i].is_over)]
        _queue.terminate(running)

    def close(self) -> None:
        """Does nothing: nothing is kept."""


def _is_of_slurm(handle: _backend.Handle) -> bool:
    return handle["executor"] == "slurm"


def _status(handle: _backend.Handle, job: _queue.QueuedJob | None) -> _backend.Status:
    if job is not None and not job.is_over:
        state = _backend.State.PENDING if job.is_waiting else _backend.State.RUNNING
        return _backend.Status(state, reason="" if job.reason == "None" else job.reason)
    return _status_of_ended(handle, job.state if job is not None else "")


def _status_of_ended(handle: _backend.Handle, reason: str) -> _backend.Status:
    """Returns the status of a job that has left the queue: what its nodes have told."""
    ends = _in_job.read_ends(handle["state"])
    if ends:
        code = next((e.exit_code for e in ends if e.exit_code), 0)
        return _backend.Status(_backend.State.DONE, code)
    if reason.startswith("CANCELLED"):
        return _backend.Status(_backend.State.STOPPED, reason=reason)
    output = os.path.join(handle["state"], _OUTPUT_FOLDER)
    return _backend.Status(
        _backend.State.LOST,
        reason=f"{reason or 'it has left the queue'}, no exit code; see {output}",
    )


def _status_of_local(handle: _backend.Handle) -> _backend.Status:
    if _is_alive(int(handle["job_id"])):
        return _backend.Status(_backend.State.RUNNING)
    return _status_of_ended(handle, "")


def _is_alive(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:  # another process has started it
        return process_signals.is_alive(pid)


def _terminate_local(handle: _backend.Handle) -> None:
    with contextlib.suppress(ProcessLookupError):  # submitit passes it on
        os.kill(int(handle["job_id"]), signal.SIGTERM)


def _import_submitit() -> Any:
    # Unless this is set, submitit 1.5.4 configures `logging` when it is imported, which
    # closes all handlers of the program, log files too.
    was_set = os.environ.get(_LOG_VARIABLE)
    os.environ[_LOG_VARIABLE] = "NOCONFIG"
    try:
        import submitit
    except ImportError as e:
        raise _backend.LaunchError(
            "Slurm jobs need the package `submitit`: pip install 'kauldron[launch]'."
        ) from e
    finally:
        if was_set is None:
            del os.environ[_LOG_VARIABLE]
        else:
            os.environ[_LOG_VARIABLE] = was_set
    return submitit
