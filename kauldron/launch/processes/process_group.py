"""The processes of a run on one machine: started together, stopped together, one code.

    python -m kauldron.launch.processes.process_group --num_processes=2 ... -- ARGS

starts `python -m kauldron.main ARGS` twice. A signal becomes one SIGTERM for each of
them, after which they save and end. The exit code is that of the process which ended the
run: the first that did not end with 0. Imports no JAX, unless the processes are copies of
this one, see `_forked`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import BinaryIO

from kauldron._base import processes
from kauldron.launch import _backend, _task_record
from kauldron.launch.processes import _forked, _process_files

_MODULE = "kauldron.launch.processes.process_group"

EXIT_FAILED = 1  # above 128: a signal ended it
EXIT_INTERRUPTED = 75

# What schedulers send before they take a machine away. A process that one of them ended
# has not saved, yet is no failure: it continues from its last checkpoint.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_POLL_SECS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes of a run that this machine runs.

    Attributes:
      args: Arguments of `python -m kauldron.main`.
      log: File of their output; `{index}` in it becomes the index of the process.
      records: Folder that gets a record of each process.
      num_processes: Of the whole run.
      num_local: On this machine.
      first_index: Index of the first of these in the run.
      coordinator: `HOST:PORT` at which process 0 listens; a free port here if empty.
      gpus: How many GPUs this machine has for the run; they are divided among the
        processes. 0: each process sees what it sees.
      start: Which start of the job this is, counted from 0.
      grace_secs: How long the others may go on when one has ended badly.
    """

    args: tuple[str, ...]
    log: str
    records: str
    num_processes: int
    num_local: int
    first_index: int = 0
    coordinator: str = ""
    gpus: int = 0
    start: int = 0
    grace_secs: float = 30.0

    def command(self, *, task_record: str, token: str) -> list[str]:
        """Returns the command line that runs it, as the task of a record."""
        options = [
            f"--{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if field.name != "args"
        ]
        options += [f"--task_record={task_record}", f"--token={token}"]
        return [sys.executable, "-m", _MODULE, *options, "--", *self.args]

    def run(self, *, may_fork: bool = False) -> int:
        """Runs the processes to their end; returns the exit code of the run.

        Call it from the main thread, which receives signals.

        Args:
          may_fork: Whether the processes may be copies of this one, which must be a
            program of its own then.
        """
        coordinator = self.coordinator or f"127.0.0.1:{_free_port()}"
        members = [_Member(self, i, coordinator) for i in range(self.num_local)]
        request = _StopRequest()
        previous = {s: signal.signal(s, request.receive) for s in _SIGNALS}
        # Each has its GPUs from the start: nothing that was imported may know of others.
        may_fork = may_fork and self.num_local > 1 and not self.gpus
        try:
            original = _forked.prepare(self.args) if may_fork else None
            for member in members:
                member.start(original)
            return self._wait(members, request)
        finally:
            for member in members:
                member.kill()
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def tell(self, message: str) -> None:
        """Writes a line to the log of the first process here."""
        _process_files.tell(self.log, self.first_index, message)

    def _wait(self, members: Sequence[_Member], request: _StopRequest) -> int:
        cause: _Member | None = None
        deadline = float("inf")
        while _are_running(members):
            if cause is None and (cause := _first_failed(members)) is not None:
                deadline = time.monotonic() + self.grace_secs
                self.tell(f"process {cause.index} {cause.how_it_ended()}")
            if signame := request.take():
                self.tell(f"{signame}: the processes save and end")
                for member in members:
                    member.ask_to_stop()
            if time.monotonic() > deadline:
                self.tell(f"the others are killed after {self.grace_secs:.0f} s")
                for member in members:
                    member.kill()
            time.sleep(_POLL_SECS)
        cause = cause or _first_failed(members)
        return 0 if cause is None else exit_code_of_run(cause.exit_code or 0)


def _are_running(members: Sequence[_Member]) -> bool:
    """Whether any is; looks at each, so that none stays a zombie."""
    return sum(member.is_running() for member in members) > 0


def _first_failed(members: Sequence[_Member]) -> _Member | None:
    ended = [m for m in members if m.exit_code]
    return min(ended, key=lambda m: m.ended, default=None)


class _Member:
    """One process of the group."""

    def __init__(self, group: ProcessGroup, number: int, coordinator: str) -> None:
        self._group = group
        self.index = group.first_index + number
        place = processes.Place(coordinator, self.index, group.num_processes)
        is_alone = group.num_processes == 1
        self._env = {
            **_environment(group, number),
            processes.VARIABLE: processes.OFF if is_alone else str(place),
        }
        self._process: subprocess.Popen[bytes] | _forked.Copy | None = None
        self._record = _process_files.ProcessRecord(
            index=self.index, start=group.start, host=socket.gethostname()
        )
        self.exit_code: int | None = None
        self.ended = float("inf")

    def start(self, original: _forked.Original | None) -> None:
        """Starts it, in a session of its own: signals reach it through the group only.

        Args:
          original: What it becomes a copy of; `None`: it is a new program.
        """
        _process_files.tell(self._group.log, self.index, self._headline())
        path = _process_files.log_of(self._group.log, self.index)
        with path.open("ab") as log:
            if original is None:
                self._process = self._start_anew(log)
            else:
                self._process = original.start(
                    _backend.MODULE,
                    self._group.args,
                    env=self._env,
                    output=log.fileno(),
                    prepare=_end_with_parent,
                )
        self._write(pid=self._process.pid, started=time.time())

    def _start_anew(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", _backend.MODULE, *self._group.args],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._env,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )

    def _headline(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        of = f"process {self.index} of {self._group.num_processes}"
        return f"{when}, start {self._group.start}, {of}, on {self._record.host}"

    def is_running(self) -> bool:
        """Whether it runs; notes how it ended."""
        if self._process is None or self.exit_code is not None:
            return False
        self.exit_code = self._process.poll()
        if self.exit_code is None:
            return True
        self.ended = time.time()
        self._write(exit_code=self.exit_code, ended=self.ended)
        return False

    def ask_to_stop(self) -> None:
        """Lets it save and end."""
        if self.is_running() and self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it at once."""
        if self.is_running() and self._process is not None:
            self._process.kill()
            self._process.wait()
            self.is_running()

    def how_it_ended(self) -> str:
        """Returns what happened to it."""
        code = self.exit_code or 0
        if code >= 0:
            return f"ended with exit code {code}"
        return f"was ended by {signal.Signals(-code).name}"

    def _write(self, **changes: float) -> None:
        self._record = dataclasses.replace(self._record, **changes)
        with contextlib.suppress(OSError):  # a full disk does not end the run
            _process_files.write_process(self._group.records, self._record)


class _StopRequest:
    """The first signal that came; later ones are ignored.

    Schedulers send several, and a second SIGTERM ends a training that still saves.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._is_taken = False

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        del frame
        self._signum = self._signum or signum

    def take(self) -> str:
        """Returns the name of the signal, if one has come, and once; else `''`."""
        if self._signum is None or self._is_taken:
            return ""
        self._is_taken = True
        return signal.Signals(self._signum).name


def check_division(*, num_processes: int, num_nodes: int, gpus_per_node: int) -> None:
    """Finds processes that cannot be divided evenly.

    Raises:
      LaunchError: If there are such.
    """
    if num_processes % num_nodes:
        raise _backend.LaunchError(
            f"{num_processes} processes cannot be divided among {num_nodes} nodes: use a "
            f"multiple of {num_nodes}."
        )
    per_node = num_processes // num_nodes
    if gpus_per_node % per_node:
        raise _backend.LaunchError(
            f"{gpus_per_node} GPUs cannot be divided among {per_node} processes of a "
            "machine: each has as many as the others."
        )


def exit_code_of_run(code: int) -> int:
    """Returns the exit code of a run of which one process ended with `code`."""
    if code >= 0:
        return code
    return EXIT_INTERRUPTED if -code in _SIGNALS else 128 - code


def _environment(group: ProcessGroup, number: int) -> Mapping[str, str]:
    env = dict(os.environ)
    if group.gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = visible.split(",") if visible else list(map(str, range(group.gpus)))
        each = group.gpus // group.num_local
        mine = gpus[number * each : (number + 1) * each]
        env["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    return env


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Lets a process save and end if its group is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _parse(argv: Sequence[str]) -> tuple[ProcessGroup, str, str]:
    parser = argparse.ArgumentParser(prog=_MODULE)
    for field in dataclasses.fields(ProcessGroup):
        if field.name != "args":
            kind = {"str": str, "int": int, "float": float}[str(field.type)]
            parser.add_argument(f"--{field.name}", type=kind, required=True)
    parser.add_argument("--task_record", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("args", nargs="*")
    values = vars(parser.parse_args(argv))
    record, token = values.pop("task_record"), values.pop("token")
    return ProcessGroup(**{**values, "args": tuple(values["args"])}), record, token


def main(argv: Sequence[str]) -> int:
    """Runs a group, if the task is this process's to run; notes its exit code."""
    group, path, token = _parse(argv)
    record = _task_record.TaskRecord(path)
    with record.claimed(token) as is_claimed:
        if not is_claimed:
            return EXIT_FAILED
        code = group.run(may_fork=True)
        record.end(token, code)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
