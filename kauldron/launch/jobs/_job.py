"""`Job`: one run over several processes, and where it is to run."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import time
from collections.abc import Mapping

from kauldron._base import shared_files
from kauldron.launch import _backend
from kauldron.launch.jobs import _job_files, _local_processes
from kauldron.launch.processes import process_group
from kauldron.launch.slurm import _slurm

MAX_RESTARTS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One run, over one process or several; started again when it was preempted.

    Attributes:
      args: Arguments of `python -m kauldron.main`: `('--cfg=config.py', ...)`.
      workdir: Directory of the run. All machines must see it.
      slurm: The cluster to run on; `None` is this machine.
      num_processes: Of the run, over all nodes; with Slurm one per node unless given.
      gpus: GPUs of this machine that are divided among the processes; 0: each process
        sees what it sees. With Slurm: see `Slurm.gpus_per_node`.
      max_restarts: How often it is started again after it was preempted. What fails is
        not started again.
      env: Environment variables that are set for it.
    """

    args: tuple[str, ...]
    workdir: str
    slurm: _slurm.Slurm | None = None
    num_processes: int | None = None
    gpus: int = 0
    max_restarts: int = MAX_RESTARTS
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("num_processes", 1), ("gpus", 0), ("max_restarts", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise _backend.LaunchError(
                    f"`{name}` of a job is at least {least}, got {value}."
                )

        if shared_files.is_remote(self.workdir):
            raise _backend.LaunchError(
                f"The workdir {self.workdir!r} is in an object store, which has no locks: a "
                "job needs a folder that all its machines see, such as 'runs/large'."
            )

    def check(self) -> None:
        """Finds out whether it can be started from here.

        Raises:
          LaunchError: If not.
        """
        slurm = self.slurm
        process_group.check_division(
            num_processes=self._num_processes,
            num_nodes=1 if slurm is None else slurm.nodes,
            gpus_per_node=self.gpus if slurm is None else slurm.gpus_per_node,
        )
        self.backend.check()

    @property
    def folder(self) -> _job_files.JobFolder:
        """Its folder in the workdir."""
        return _job_files.JobFolder.of(self.workdir)

    @property
    def backend(self) -> _backend.Backend:
        """What starts it."""
        if self.slurm is None:
            return _local_processes.LocalProcesses(gpus=self.gpus)
        return dataclasses.replace(self.slurm, max_restarts=self.max_restarts)

    @property
    def task(self) -> _backend.Task:
        """What the backend starts."""
        name = pathlib.Path(os.path.abspath(self.workdir)).name
        folder = self.folder
        return _backend.Task(
            name=re.sub(r"[^\w.-]", "_", name),
            args=self.args,
            workdir=self.workdir,
            log=folder.task_log,
            record=folder.task_record,
            env=self.env,
            num_processes=self._num_processes,
        )

    @property
    def _num_processes(self) -> int:
        if self.num_processes is not None:
            return self.num_processes
        return 1 if self.slurm is None else self.slurm.nodes

    def to_record(self) -> _job_files.JobRecord:
        """Returns what is written of it."""
        return _job_files.JobRecord(
            args=self.args,
            cwd=os.getcwd(),
            slurm=None if self.slurm is None else dataclasses.asdict(self.slurm),
            num_processes=self._num_processes,
            gpus=self.gpus,
            max_restarts=self.max_restarts,
            env=dict(self.env),
            created=time.time(),
        )

    @classmethod
    def from_record(cls, workdir: str, record: _job_files.JobRecord) -> Job:
        """Returns the job that a workdir has a record of."""
        slurm = None
        if record.slurm is not None:
            fields = {**record.slurm, "setup": tuple(record.slurm["setup"])}
            slurm = _slurm.Slurm(**fields)
        return cls(
            args=record.args,
            workdir=workdir,
            slurm=slurm,
            num_processes=record.num_processes,
            gpus=record.gpus,
            max_restarts=record.max_restarts,
            env=record.env,
        )
