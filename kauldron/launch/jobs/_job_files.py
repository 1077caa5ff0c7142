"""Files of a job, in the folder `job/` of its workdir.

| file | holds |
|---|---|
| `job.json` | what is run, where, and how earlier starts of it ended |
| `task.json` | what the backend remembers, see `Task.record` |
| `task/process_<i>.json` | the last start of process i |
| `logs/process_<i>.log` | its output, over all starts |
| `cancelled` | is there if the job is not to be started again |

All are written atomically; what a killed launcher leaves can be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.launch.processes import _process_files

FOLDER = "job"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What is known of a job.

    Attributes:
      args: Arguments of `python -m kauldron.main`.
      cwd: Folder it was started in.
      slurm: Fields of `Slurm`; `None` on this machine.
      num_processes: Processes of the run.
      max_restarts: How often it is started again at most after it was preempted.
      env: Environment variables that are set for it.
      created: When it was launched, seconds since 1970.
      gpus: GPUs of this machine that are divided among the processes.
      ended: The exit codes of earlier starts, the oldest first.
    """

    args: tuple[str, ...]
    cwd: str
    slurm: Mapping[str, Any] | None
    num_processes: int
    max_restarts: int
    env: Mapping[str, str]
    created: float
    gpus: int = 0
    ended: tuple[int | None, ...] = ()


class JobFolder:
    """The folder of a job.

    Args:
      path: The folder, `WORKDIR/job`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)

    @classmethod
    def of(cls, workdir: str | os.PathLike[str]) -> JobFolder:
        """Returns that of a workdir."""
        return cls(pathlib.Path(workdir) / FOLDER)

    @property
    def workdir(self) -> pathlib.Path:
        return self.path.parent

    @property
    def task_record(self) -> str:
        """`Task.record` of the run."""
        return os.fspath(self.path / "task.json")

    @property
    def task_log(self) -> str:
        """`Task.log` of the run, with `{index}` for the process."""
        return os.fspath(self.path / "logs" / "process_{index}.log")

    @property
    def _cancelled(self) -> pathlib.Path:
        return self.path / "cancelled"

    def log(self, index: int) -> pathlib.Path:
        """Returns the log of a process."""
        return _process_files.log_of(self.task_log, index)

    def read(self) -> JobRecord | None:
        """Returns the record of the job; `None` if there is none that can be read."""
        fields = _process_files.read(self.path / "job.json")
        if fields is None:
            return None
        fields["args"], fields["ended"] = tuple(fields["args"]), tuple(fields["ended"])
        return JobRecord(**fields)

    def write(self, record: JobRecord) -> None:
        """Writes the record of the job."""
        _process_files.write(self.path / "job.json", dataclasses.asdict(record))

    def read_processes(self) -> list[_process_files.ProcessRecord]:
        """Returns the last start of each process, by index."""
        return _process_files.read_processes(_process_files.state_of(self.task_record))

    @property
    def is_cancelled(self) -> bool:
        """Whether the job is not to be started again."""
        return self._cancelled.exists()

    def cancel(self) -> None:
        """Notes that the job is not to be started again."""
        self._cancelled.touch()

    def forget_cancelling(self) -> None:
        """Lets the job be started again."""
        self._cancelled.unlink(missing_ok=True)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps other launchers out.

        Raises:
          BlockingIOError: If another launcher keeps the job.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = epath.Path(self.path / ".launcher.lock")
        with shared_files.exclusive(lock, blocking=False):
            yield
