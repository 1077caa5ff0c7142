"""Starts jobs, and starts them again when they were preempted.

On this machine a launcher keeps a job: it waits for its end, and starts it again. It may
be killed at any instant: the processes run on, and the next launcher adopts them. Slurm's
jobs put themselves into the queue again; a launcher only looks at them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from kauldron._base import process_signals
from kauldron.launch import _backend, _log_ends
from kauldron.launch.jobs import _job, _job_files, _job_index, _job_status, _logs
from kauldron.launch.processes import process_group

_MODULE = "kauldron.launch.jobs.keeper"

_POLL_SECS = 0.2
_SLURM_POLL_SECS = 5.0
# Another launcher may hold the job for a moment while it starts it.
_TRY_TO_KEEP_SECS = 2.0
_NUM_LAST_LINES = 20

Print = Callable[[str], None]


def run_job(job: _job.Job, *, show: Print = print) -> int:
    """Starts a job, or adopts the one that runs, and stays until its end.

    SIGINT and SIGTERM let a run on this machine save and end; a job of Slurm goes on.

    Args:
      job: The job.
      show: Gets each line of the log of the first process, and what happens to the job.

    Returns:
      The exit code of the run: 0 done, 1 failed, 2 a mistake in its config, 3 done with
      flaws, 75 interrupted.

    Raises:
      LaunchError: If it cannot be started, or another job runs in this workdir.
    """
    job.check()
    logs = _logs.Logs({0: job.folder.log(0)}, from_end=True)
    with _kept(job) as is_kept:
        if _start_or_adopt(job):
            show(f"--- the job runs already; its output follows ({job.workdir}) ---")
        if job.slurm is not None or not is_kept:
            return _watch(job, logs, show)
        return _keep(job, logs, show)


def start_job(job: _job.Job) -> _job_status.JobStatus:
    """Starts a job, or finds the one that runs, and leaves it to itself.

    Returns:
      Where it is.

    Raises:
      LaunchError: If it cannot be started, or another job runs in this workdir.
    """
    job.check()
    with _kept(job) as is_kept:
        _start_or_adopt(job)
    if job.slurm is None and is_kept:
        keep_in_background(job.workdir)
    return _job_status.status_of_job(job.workdir)


def keep_in_background(workdir: str) -> None:
    """Starts a process that keeps the job of a workdir, and outlives this one."""
    folder = _job_files.JobFolder.of(workdir)
    log_path = folder.path / "logs" / "keeper.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", _MODULE, os.path.abspath(workdir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextlib.contextmanager
def _kept(job: _job.Job) -> Iterator[bool]:
    """Keeps the job inside the block; yields whether that is so."""
    deadline = time.monotonic() + _TRY_TO_KEEP_SECS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(job.folder.kept())
                is_kept = True
            except BlockingIOError:
                is_kept = False
            if is_kept or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECS)
        yield is_kept


def _start_or_adopt(job: _job.Job) -> bool:
    """Starts a job unless it runs; returns whether it ran already."""
    record = job.folder.read()
    if record is not None and not _job_status.status_of_job(job.workdir).is_over:
        _check_same(job, record)
        _job_index.add(job.workdir)
        return True
    job.folder.forget_cancelling()
    job.folder.write(job.to_record())
    _job_index.add(job.workdir)
    job.backend.start(job.task)
    return False


def _check_same(job: _job.Job, record: _job_files.JobRecord) -> None:
    earlier = _job.Job.from_record(job.workdir, record).to_record()
    before = dataclasses.replace(earlier, cwd=record.cwd)
    after = job.to_record()
    for name in ("args", "cwd", "slurm", "num_processes", "gpus", "env"):
        then, now = getattr(before, name), getattr(after, name)
        if then != now:
            raise _backend.LaunchError(
                f"A job runs in {job.workdir!r}, with other {_NAMES.get(name, name)}: "
                f"{_only_in(then, now)} there, {_only_in(now, then)} here. Wait for it, "
                "end it with `kauldron launch cancel "
                f"--workdir={job.workdir}`, or choose another `--cfg.workdir=...`."
            )


# Field of a job -> what its user calls it.
_NAMES = {"args": "arguments", "cwd": "current folder", "env": "variables"}


def _only_in(value: Any, other: Any) -> str:
    """Returns what only the first of two values has, as it stands on a command line."""
    parts = [x for x in _parts(value) if x not in _parts(other)]
    return shlex.join(parts) or "none"


def _parts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{k}={v}" for k, v in value.items()]
    if isinstance(value, tuple | list):
        return [str(x) for x in value]
    return [] if value is None else [str(value)]


def keep(job: _job.Job, *, show: Print = print) -> int:
    """Stays until the end of a job that was started; starts it again if need be.

    Returns:
      The exit code of the run.
    """
    with _kept(job) as is_kept:
        logs = _logs.Logs({})
        return _keep(job, logs, show) if is_kept else _watch(job, logs, show)


def _keep(job: _job.Job, logs: _logs.Logs, show: Print) -> int:
    """Waits for the end of a job on this machine, and starts it again if need be."""
    signals = _StopSignals()
    with process_signals.handled((signal.SIGINT, signal.SIGTERM), signals.receive):
        while True:
            code = _wait(job, logs, show, signals)
            record = job.folder.read() or job.to_record()
            num_restarts = len(record.ended)
            is_wanted = not (signals or job.folder.is_cancelled)
            if code != process_group.EXIT_INTERRUPTED or not is_wanted:
                return _tell_end(job, code, show)
            if num_restarts >= job.max_restarts:
                show(
                    f"--- not started again: {num_restarts} restarts are the limit ---"
                )
                return _tell_end(job, code, show)
            record = dataclasses.replace(record, ended=(*record.ended, code))
            job.folder.write(record)
            show(f"--- preempted: restart {num_restarts + 1} of {job.max_restarts} ---")
            job.backend.start(job.task)


def _watch(job: _job.Job, logs: _logs.Logs, show: Print) -> int:
    """Waits for the end of a job that others keep."""
    try:
        return _tell_end(job, _wait(job, logs, show, None), show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "The run goes on; `kauldron launch cancel` ends it."
        ) from None


def _wait(
    job: _job.Job, logs: _logs.Logs, show: Print, signals: _StopSignals | None
) -> int:
    """Waits for the end of the run, shows its log; returns its exit code."""
    was_stopped = False
    next_look, poll_secs = 0.0, _POLL_SECS if job.slurm is None else _SLURM_POLL_SECS
    backend, task = job.backend, job.task
    while True:
        is_wanted = signals is None or not (signals or job.folder.is_cancelled)
        handle = backend.find(task)
        if not is_wanted and not was_stopped and handle is not None:
            show("--- the run saves and ends ---")
            backend.stop([handle])
            was_stopped = True
        status = None
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + poll_secs
            status = backend.ask([handle])[0] if handle is not None else None
        is_over = status is not None and status.is_over
        for line in logs.read_lines(whole=not is_over):
            show(line)
        if status is not None and is_over:
            return _code_of(status, show)
        time.sleep(_POLL_SECS)


def _code_of(status: _backend.Status, show: Print) -> int:
    if status.exit_code is not None:
        is_killed = status.exit_code > 128
        return process_group.EXIT_FAILED if is_killed else status.exit_code
    if status.state == _backend.State.STOPPED:
        return process_group.EXIT_INTERRUPTED
    show(f"--- the run is lost: {status.reason} ---")
    return process_group.EXIT_FAILED


def _tell_end(job: _job.Job, code: int, show: Print) -> int:
    """Shows why a run has failed, if the log that was shown does not; returns the code."""
    if code in (0, 3, process_group.EXIT_INTERRUPTED):
        return code
    cause = _job_status.first_failed(job.folder.read_processes())
    if cause is not None and cause.index:
        log = job.folder.log(cause.index)
        show(f"--- process {cause.index} ended the run; the end of {log} ---")
        for line in _log_ends.last_lines(log, _NUM_LAST_LINES):
            show(f"[{cause.index}] {line}")
    return code


class _StopSignals:
    """True when SIGINT or SIGTERM has come; the second one interrupts this process."""

    def __init__(self) -> None:
        self._has_come = False

    def __bool__(self) -> bool:
        return self._has_come

    def receive(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if self._has_come:
            raise KeyboardInterrupt("The run goes on saving; the launcher has left it.")
        self._has_come = True
