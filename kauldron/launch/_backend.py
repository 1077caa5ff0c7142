"""What runs tasks: the protocol of backends, and what it is given and gives back.

A task is one run of `python -m kauldron.main`. A backend starts, asks about and stops
tasks; what is started again, and when, is decided by who gives them to it: a sweep, a
job. Handles are plain JSON, so that another process can ask, after the first was killed.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from kauldron._base import errors

MODULE = "kauldron.main"

Handle: TypeAlias = Mapping[str, Any]
"""What a backend needs to find a task again: JSON values by name."""


class LaunchError(errors.UserError, ValueError):
    """Something that cannot be started as it is asked for; nothing was started."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One run, as a command line.

    Attributes:
      name: Short, path-safe; unique in its sweep or among the jobs of a workdir.
      args: Arguments of `python -m kauldron.main`: `('--cfg=config.py', ...)`.
      workdir: Directory of the run.
      log: File to which stdout and stderr of the run are appended.
      record: File in which the backend keeps what it has to remember of the task, and
        by which another process finds it: see `Backend.find`. Only backends read it.
      env: Environment variables that are set for it, besides those of this process.
      num_processes: Processes that make up the run.
    """

    name: str
    args: tuple[str, ...]
    workdir: str
    log: str
    record: str
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    num_processes: int = 1

    @property
    def command(self) -> tuple[str, ...]:
        """The command line of each process of the run."""
        return (sys.executable, "-m", MODULE, *self.args)

    @property
    def environment(self) -> dict[str, str]:
        """All variables of the run: those of this process, changed by `env`."""
        return {**os.environ, **self.env}


class State(enum.StrEnum):
    """Where a task is, as far as its backend can tell."""

    GIVEN = "given"  # written down, for somebody else to start
    PENDING = "pending"  # waits, in a queue of the backend
    RUNNING = "running"
    DONE = "done"  # ended by itself: there is an exit code
    STOPPED = "stopped"  # was told to stop, before it had an exit code of its own
    LOST = "lost"  # is gone without an exit code: killed, or its machine went down


@dataclasses.dataclass(frozen=True)
class Status:
    """One look at a task.

    Attributes:
      state: Where it is.
      exit_code: Of the run, if it is done: 0 done, 1 failed, 2 a mistake of the user, 3
        done with flaws, 75 interrupted after saving, other numbers as the system has
        them (negative: ended by that signal).
      reason: Why, in the words of the backend; may be empty.
    """

    state: State
    exit_code: int | None = None
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the task can be started again: it neither waits nor runs."""
        return self.state not in (State.PENDING, State.RUNNING)


class Backend(Protocol):
    """Starts, asks about, and stops tasks.

    Attributes:
      parallel: How many tasks it is given at a time; `None`: as many as there are, as
        it has a queue of its own.
    """

    @property
    def parallel(self) -> int | None: ...

    def check(self) -> None:
        """Finds out whether tasks can be started from here.

        Raises:
          LaunchError: If not; says what is missing, and what to do.
        """
        ...

    def start(self, task: Task) -> Handle:
        """Starts a task, or puts it in the queue; returns at once.

        Who starts a task has made sure, by `find` and `ask`, that it is not running.
        """
        ...

    def find(self, task: Task) -> Handle | None:
        """Returns the handle of the last start of a task, by whatever process that was.

        Returns `None` if it was never started.
        """
        ...

    def ask(self, handles: Sequence[Handle]) -> list[Status]:
        """Returns where tasks are, in the order given."""
        ...

    def stop(self, handles: Sequence[Handle]) -> None:
        """Asks tasks to save and end; what waits in a queue is taken out.

        Returns at once. Those that are over stay as they are.
        """
        ...

    def close(self) -> None:
        """Gives back what is kept between tasks; tasks that run, run on."""
        ...
