"""Warm workers: an ordinary process that runs one task after the other.

What is imported and compiled for one task serves the next. Orders come through stdin, a
line of JSON each; its end ends the worker, after the task it is at. So the worker of a
program that was killed finishes what it does, and goes.

A task must find the process as a new one would be: what a task changes is put back, and
where that is not possible (a variable of the environment, a setting of JAX, the source of
a module that was edited meanwhile) the worker replaces itself by a new process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from kauldron.launch import _fresh_process
from kauldron.launch._backend import Task
from kauldron.launch._task_record import TaskRecord

MODULE = "kauldron.cli.worker"
# Through these a worker that replaces itself keeps its orders.
_ORDERS_VARIABLE = "KAULDRON_WORKER_ORDERS"
_PENDING_VARIABLE = "KAULDRON_WORKER_PENDING"


def to_order(task: Task, token: str) -> bytes:
    """Returns the line that makes a worker run a task.

    Args:
      task: The task; the worker was started with its environment.
      token: Of the start, see `TaskRecord`.
    """
    order = {"task": dataclasses.asdict(task), "token": token}
    return json.dumps(order).encode() + b"\n"


def serve(run: Callable[[Sequence[str]], int]) -> None:
    """Runs the tasks that stdin asks for, until it ends.

    Args:
      run: Runs a task in this process: gets its arguments, returns its exit code.
    """
    orders = _Orders()
    sources = _fresh_process.Sources()
    is_new = True
    while line := orders.next():
        if not is_new and (sources.have_changed() or _configures_jax(line)):
            orders.leave_to_a_new_process(line)
        since = time.time()
        if changes := _run_order(line, run, is_first=is_new):
            print(f"A new process takes over: {', '.join(changes)}.", flush=True)
            orders.leave_to_a_new_process()
        sources.look(since=since)
        if is_new:  # what was imported stays: it need not be looked through each time
            gc.freeze()
        is_new = False


class _Orders:
    """The lines of stdin; what runs in this process finds an empty one."""

    def __init__(self) -> None:
        self._pending = os.environ.pop(_PENDING_VARIABLE, "").encode()
        descriptor = int(os.environ.pop(_ORDERS_VARIABLE, "-1"))
        self._environment = dict(os.environ)
        if descriptor < 0:
            descriptor = os.dup(0)
        os.set_inheritable(descriptor, False)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        # Nothing is read ahead, so that a process that takes over gets all the rest.
        self._lines = io.FileIO(descriptor)

    def next(self) -> bytes:
        """Returns the next order; nothing when there are no more."""
        line, self._pending = self._pending or self._lines.readline(), b""
        return line

    def leave_to_a_new_process(self, pending: bytes = b"") -> NoReturn:
        """Replaces this process by a new one, which has the same number.

        Args:
          pending: An order that was taken, but not carried out.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        descriptor = self._lines.fileno()
        os.set_inheritable(descriptor, True)
        variables = {
            **self._environment,
            _ORDERS_VARIABLE: str(descriptor),
            _PENDING_VARIABLE: pending.decode(),
        }
        os.execve(sys.executable, [sys.executable, "-m", MODULE], variables)


def _configures_jax(line: bytes) -> bool:
    """Whether an order has flags of JAX, which it reads once, when it starts."""
    args = json.loads(line)["task"]["args"]
    return any(arg.lstrip("-").startswith("jax_") for arg in args)


def _run_order(
    line: bytes, run: Callable[[Sequence[str]], int], *, is_first: bool
) -> list[str]:
    """Runs a task; returns what of this process it has changed for good."""
    order = json.loads(line)
    task, token = Task(**order["task"]), order["token"]
    record = TaskRecord(task.record)
    with record.claimed(token) as is_mine:
        if not is_mine:
            return []
        with (
            _output_to(task.log),
            _fresh_process.restored(is_first=is_first) as changes,
        ):
            sys.argv = [_main_file(), *task.args]
            exit_code = _exit_code_of(run, task.args)
        record.end(token, exit_code)
    gc.collect()  # the arrays of this run, before those of the next
    return changes


def _main_file() -> str:
    import kauldron

    return os.path.join(os.path.dirname(kauldron.__file__), "main.py")


def _exit_code_of(run: Callable[[Sequence[str]], int], args: Sequence[str]) -> int:
    """Returns the exit code that a process of its own would have."""
    try:
        return run(args)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        print(e.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1


@contextlib.contextmanager
def _output_to(log: str) -> Iterator[None]:
    """Appends what is printed inside the block to a file, by subprocesses too."""
    os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
    before = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(log, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
