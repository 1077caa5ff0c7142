"""`Local`: tasks as processes of this machine, a few at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from kauldron.launch import _devices, worker
from kauldron.launch._backend import Handle, LaunchError, State, Status, Task
from kauldron.launch._task_record import TaskRecord

_NAME = "local"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Local:
    """Runs tasks in processes of this machine.

    The processes do not end with the program that started them: a task that runs is
    finished, and its record tells how.

    Attributes:
      parallel: Tasks at a time.
      devices_per_trial: GPUs that each task has for itself; where there is none, CPU
        devices that it sees. `None`: each sees what this process would see.
      warm: Whether a process runs one task after the other, so that what is imported
        and compiled is kept. The results are the same.

    Raises:
      LaunchError: If a number is not positive.
    """

    parallel: int = 1
    devices_per_trial: int | None = None
    warm: bool = True
    _pool: _Pool = dataclasses.field(
        default_factory=lambda: _Pool(), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for name in ("parallel", "devices_per_trial"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LaunchError(f"`{name}` must be at least 1, got {value}.")

    def check(self) -> None:
        """Finds out whether there are enough GPUs.

        Raises:
          LaunchError: If there are not.
        """
        _devices.check(self.parallel, self.devices_per_trial)

    def start(self, task: Task) -> Handle:
        """Gives a task to a process that is free, or to a new one.

        Raises:
          LaunchError: If the task is one of several processes.
        """
        if task.num_processes > 1:
            raise LaunchError(
                f"`Local` runs a task in one process, {task.name} wants "
                f"{task.num_processes}: `kauldron launch --processes=...` runs those."
            )
        handle = TaskRecord(task.record).start(_NAME)
        slot = self._pool.free_slot(self.parallel)
        variables = _devices.variables(slot, self.devices_per_trial)
        environment = {**task.environment, **variables}
        self._pool.give(task, handle, slot, environment, is_last=not self.warm)
        return handle

    def find(self, task: Task) -> Handle | None:
        """Returns the handle of the last start of a task, if that was here."""
        handle = TaskRecord(task.record).find()
        return handle if handle and handle["backend"] == _NAME else None

    def ask(self, handles: Sequence[Handle]) -> list[Status]:
        """Returns where tasks are."""
        return [self._pool.correct(h, status_of(h)) for h in handles]

    def stop(self, handles: Sequence[Handle]) -> None:
        """Asks tasks to save and end."""
        for handle in handles:
            TaskRecord(handle["record"]).stop(handle["token"])

    def close(self) -> None:
        """Ends the processes that are free; the others end after their task."""
        self._pool.close()


def status_of(handle: Handle) -> Status:
    """Returns where a task is, as its record says."""
    return TaskRecord(handle["record"]).status(handle["token"])


@dataclasses.dataclass
class _Worker:
    """A process of the pool, and the task that it was given last."""

    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]
    slot: int
    handle: Handle
    is_last: bool

    @property
    def is_free(self) -> bool:
        is_alive = self.process.poll() is None
        return is_alive and not self.is_last and status_of(self.handle).is_over

    @property
    def is_busy(self) -> bool:
        return self.process.poll() is None and not status_of(self.handle).is_over

    def send(self, order: bytes) -> None:
        """Sends an order; a process that has just died does not take it."""
        assert self.process.stdin is not None  # it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(order)
            self.process.stdin.flush()
        if self.is_last:
            self.dismiss()

    def dismiss(self) -> None:
        """Lets it end after the task that it is at."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class _Pool:
    """The processes that this program has started."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []

    def free_slot(self, num_slots: int) -> int:
        """Returns a number that no task at work has, the lowest one.

        It says which devices the task gets.
        """
        taken = {w.slot for w in self._workers if w.is_busy}
        return next(i for i in range(num_slots + len(taken)) if i not in taken)

    def give(
        self,
        task: Task,
        handle: Handle,
        slot: int,
        environment: Mapping[str, str],
        *,
        is_last: bool,
    ) -> None:
        """Gives a task to a process that has this environment."""
        self._workers = [w for w in self._workers if w.process.poll() is None]
        free = [w for w in self._workers if w.slot == slot and w.is_free]
        found = next((w for w in free if w.environment == environment), None)
        for other in free:
            if other is not found:
                other.dismiss()
                self._workers.remove(other)
        if found is None:
            process = _start_process(environment, task.log)
            found = _Worker(process, environment, slot, handle, is_last)
            self._workers.append(found)
        found.handle = handle
        found.send(worker.to_order(task, handle["token"]))

    def correct(self, handle: Handle, status: Status) -> Status:
        """Returns the status of a task, `LOST` if its process died before it began."""
        if status.state is not State.PENDING:
            return status
        owner = next((w for w in self._workers if w.handle == handle), None)
        if owner is None or (code := owner.process.poll()) is None:
            return status
        return Status(State.LOST, reason=f"its process ended at once, with code {code}")

    def close(self) -> None:
        for one in self._workers:
            one.dismiss()
        self._workers = [w for w in self._workers if w.is_busy]


def _start_process(environment: Mapping[str, str], log: str) -> subprocess.Popen[bytes]:
    os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", worker.MODULE],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for the program that gives the tasks
        )
