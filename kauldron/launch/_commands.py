"""`Commands`: writes the command lines of tasks, for anything else that starts them."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
from collections.abc import Sequence

from kauldron.launch._backend import Handle, LaunchError, State, Status, Task
from kauldron.workdir import run_status

_NAME = "commands"
_EXIT_CODES = {"done": 0, "failed": 1, "interrupted": 75}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commands:
    """Writes a line per task, and starts nothing.

    The file is begun anew by each sweep, with what is missing then. How the runs are
    doing is read from their workdirs.

    Attributes:
      file: Where the lines are written; each is a command for a shell.
    """

    file: str = "commands.sh"

    @property
    def parallel(self) -> None:
        """All tasks are written at once."""

    def check(self) -> None:
        """Begins the file anew.

        Raises:
          LaunchError: If it cannot be written.
        """
        path = pathlib.Path(self.file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        except OSError as e:
            raise LaunchError(
                f"The commands cannot be written to {self.file!r}: {e.strerror}."
            ) from e

    def start(self, task: Task) -> Handle:
        """Writes the line of a task."""
        if task.num_processes > 1:
            raise LaunchError(
                "`Commands` writes a line per run, of one process each: this run wants "
                f"{task.num_processes}."
            )
        with open(self.file, "a") as file:
            file.write(f"{to_line(task)}\n")
        return {"backend": _NAME, "workdir": task.workdir}

    def find(self, task: Task) -> None:
        """Returns `None`: it has started nothing."""

    def ask(self, handles: Sequence[Handle]) -> list[Status]:
        """Returns where tasks are, as their workdirs say."""
        return [_status_of(handle["workdir"]) for handle in handles]

    def stop(self, handles: Sequence[Handle]) -> None:
        """Asks runs to save and end, by the file `STOP` in their workdirs."""
        for handle in handles:
            if _status_of(handle["workdir"]).state is State.RUNNING:
                (pathlib.Path(handle["workdir"]) / "STOP").touch()

    def close(self) -> None:
        """Nothing is kept between tasks."""


def to_line(task: Task) -> str:
    """Returns a task as a command for a shell, in whatever folder it is."""
    variables = [f"{name}={value}" for name, value in task.env.items()]
    command = [*(["env", *variables] if variables else []), *task.command]
    folder, log = shlex.quote(os.getcwd()), shlex.quote(os.path.abspath(task.log))
    return (
        f"mkdir -p {shlex.quote(os.path.dirname(os.path.abspath(task.log)))} && "
        f"cd {folder} && {shlex.join(command)} >> {log} 2>&1"
    )


def _status_of(workdir: str) -> Status:
    run = run_status.read(workdir)
    if run is None:
        return Status(State.GIVEN)
    if run.state == "running":
        return Status(State.RUNNING if run.is_alive else State.LOST)
    return Status(State.DONE, _EXIT_CODES[run.state])
