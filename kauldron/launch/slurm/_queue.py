"""Slurm's own commands: which partitions there are, where jobs stand, signals to jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from kauldron._base import errors
from kauldron.launch import _backend

_TIMEOUT_SECS = 60

_WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD")
_AT_WORK = (
    "RUNNING",
    "COMPLETING",
    "SIGNALING",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
    "RESIZING",
    "SPECIAL_EXIT",
)


class QueuedJob(NamedTuple):
    """A job in the queue, or one that has left it a few minutes ago.

    Attributes:
      state: As Slurm calls it: `'PENDING'`, `'RUNNING'`, `'NODE_FAIL'`, ...
      reason: Why it is there, as Slurm calls it; `'None'` if there is no reason.
      comment: What it was submitted with.
    """

    state: str
    reason: str
    comment: str

    @property
    def is_waiting(self) -> bool:
        return self.state in _WAITING

    @property
    def is_over(self) -> bool:
        return self.state not in (*_WAITING, *_AT_WORK)


class SlurmFailed(errors.Failure):
    """Slurm does not answer, though it is installed."""


def no_slurm(program: str) -> _backend.LaunchError:
    """Returns the error for a program of Slurm that is not installed."""
    return _backend.LaunchError(
        f"There is no Slurm on this machine: `{program}` is not found. Start this on a "
        "login node of a cluster, or run on this machine: `--on=local`."
    )


def check_partition(name: str | None, num_nodes: int) -> None:
    """Finds a partition that does not exist, or is too small.

    Args:
      name: Its name; `None` is Slurm's default partition.
      num_nodes: Nodes that are asked for.

    Raises:
      LaunchError: If a job would wait for ever, or is refused.
    """
    sizes: dict[str, int] = {}
    default = None
    for line in call("sinfo", "--noheader", "--format=%P|%D").splitlines():
        partition, _, size = line.strip().partition("|")
        if partition.endswith("*"):
            partition = default = partition[:-1]
        sizes[partition] = sizes.get(partition, 0) + int(size)
    known = ", ".join(map(repr, sizes)) or "none"
    if name is not None and name not in sizes:
        raise _backend.LaunchError(
            f"Slurm has no partition {name!r}; it has {known}."
            f"{errors.did_you_mean(name, sizes)}"
        )
    name = name if name is not None else default
    if name is None:
        raise _backend.LaunchError(
            f"Slurm has no default partition: name one, `--partition=...`; it has {known}."
        )
    if num_nodes > sizes[name]:
        raise _backend.LaunchError(
            f"The partition {name!r} has {sizes[name]} nodes; {num_nodes} are asked for. "
            f"Use at most `--nodes={sizes[name]}`, or another partition."
        )


def jobs() -> dict[str, QueuedJob]:
    """Returns this user's jobs by id, also those that have ended a few minutes ago."""
    text = call("squeue", "--noheader", "--me", "--states=all", "--format=%i|%T|%r|%k")
    found = {}
    for line in text.splitlines():
        job_id, state, reason, comment = line.strip().split("|", maxsplit=3)
        found[job_id] = QueuedJob(state, reason, comment)
    return found


def terminate(job_ids: Sequence[str]) -> None:
    """Sends SIGTERM to all processes of jobs; they stay in the queue until they end."""
    if job_ids:
        call("scancel", "--signal=TERM", *job_ids)


def remove(job_ids: Sequence[str]) -> None:
    """Takes jobs out of the queue."""
    if job_ids:
        call("scancel", *job_ids)


def requeue(job_id: str) -> None:
    """Ends a job, and puts it into the queue again."""
    call("scontrol", "requeue", job_id)


def call(*command: str) -> str:
    """Returns what a command of Slurm prints.

    Raises:
      LaunchError: If it is not installed.
      SlurmFailed: If it fails.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECS, check=False
        )
    except FileNotFoundError:
        raise no_slurm(command[0]) from None
    except subprocess.TimeoutExpired:
        raise SlurmFailed(
            f"Slurm does not answer: `{' '.join(command)}` ran for {_TIMEOUT_SECS} s."
        ) from None
    if done.returncode:
        raise SlurmFailed(
            f"`{' '.join(command)}` failed with exit code {done.returncode}: "
            f"{done.stderr.strip()}"
        )
    return done.stdout
