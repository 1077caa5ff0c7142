"""`LocalProcesses`: a run over several processes of this machine."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Sequence

from kauldron.launch import _backend, _task_record
from kauldron.launch.processes import _process_files, process_group

_NAME = "local_processes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalProcesses:
    """Runs a task as processes of this machine, which outlive the one that starts them.

    Attributes:
      gpus: GPUs of this machine that are divided among the processes; 0: none is
        assigned, each process sees what it sees.
    """

    gpus: int = 0

    @property
    def parallel(self) -> int:
        """One task has this machine."""
        return 1

    def check(self) -> None:
        """Does nothing: this machine is here."""

    def start(self, task: _backend.Task) -> _backend.Handle:
        """Starts the processes of a task.

        Raises:
          LaunchError: If the GPUs cannot be divided among them.
        """
        process_group.check_division(
            num_processes=task.num_processes, num_nodes=1, gpus_per_node=self.gpus
        )
        state = _process_files.state_of(task.record)
        state.mkdir(parents=True, exist_ok=True)
        record = _task_record.TaskRecord(task.record)
        handle = record.start(_NAME)
        group = process_group.ProcessGroup(
            args=task.args,
            log=os.path.abspath(task.log),
            records=os.path.abspath(state),
            num_processes=task.num_processes,
            num_local=task.num_processes,
            gpus=self.gpus,
            start=(record.read() or {}).get("num_starts", 1) - 1,
        )
        command = group.command(
            task_record=os.path.abspath(task.record), token=handle["token"]
        )
        with (state / "group.log").open("ab") as log:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=task.environment,
                start_new_session=True,
            )
        return handle

    def find(self, task: _backend.Task) -> _backend.Handle | None:
        """Returns the handle of the last start of a task."""
        return _task_record.TaskRecord(task.record).find()

    def ask(self, handles: Sequence[_backend.Handle]) -> list[_backend.Status]:
        """Returns where tasks are."""
        return [
            _task_record.TaskRecord(h["record"]).status(h["token"]) for h in handles
        ]

    def stop(self, handles: Sequence[_backend.Handle]) -> None:
        """Lets the processes of tasks save and end."""
        for handle in handles:
            _task_record.TaskRecord(handle["record"]).stop(handle["token"])

    def close(self) -> None:
        """Does nothing: nothing is kept."""
