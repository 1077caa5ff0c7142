"""The processes of one run: how each is told which one it is, and where they meet.

A launcher starts the same command once for each process. It says which one this is with
the flag `--distributed` of `kauldron train` and `python -m kauldron.main`, or with the
environment variable `KAULDRON_DISTRIBUTED`; the flag wins. Both take one of:

- `HOST:PORT,INDEX,COUNT`: this is process INDEX, from 0, of COUNT. Process 0 runs on HOST
  and opens PORT there, any free one. `str(Place(...))` makes this text.
- `auto`, the default: what the launcher of a cluster (Slurm, Open MPI, Kubernetes, TPU)
  has left in the environment, as JAX reads it; one process if there is nothing.
- `slurm`, `ompi`, `mpi4py`, `gcetpu` or `gketpu`: this way of JAX to find out, and
  no other.
- `off`: this process is a run of its own.

What belongs to the run as a whole is written and printed by process 0.

Imports no JAX: launchers need none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kauldron._base import errors

FLAG = "distributed"
VARIABLE = "KAULDRON_DISTRIBUTED"

AUTO = "auto"
OFF = "off"
# Names of JAX for its ways to find the processes of a run.
METHODS = ("slurm", "ompi", "mpi4py", "gcetpu", "gketpu")


class ProcessesError(errors.UserError, ValueError):
    """The processes of a run cannot be found, or don't belong together."""


class Place(NamedTuple):
    """The place of one process among those of a run.

    Attributes:
      address: `HOST:PORT` of process 0.
      index: In `[0, count)`.
      count: Number of processes.
    """

    address: str
    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.address},{self.index},{self.count}"


class Launcher(NamedTuple):
    """A launcher that has started this process.

    Attributes:
      name: As its users call it.
      index: Of this process; `None` if the environment does not say.
      count: Number of processes; `None` if the environment does not say.
      variable: Which variable of the environment says so.
    """

    name: str
    index: int | None
    count: int | None
    variable: str


class Detection(NamedTuple):
    """JAX is to find out where this process belongs.

    Attributes:
      method: One of `METHODS`; `None`: the one that fits.
      launcher: Who has started this process, if that is known.
    """

    method: str | None
    launcher: Launcher | None


def requested(flag: str | None) -> Place | Detection | None:
    """Returns how this process becomes one of several; `None` if it is alone.

    Args:
      flag: Value of `--distributed`; `None` if it is not given.

    Raises:
      ProcessesError: If the text of the flag, or of the variable, makes no sense.
    """
    if flag is not None:
        said = parse(flag, f"--{FLAG}")
    else:
        said = parse(os.environ.get(VARIABLE) or AUTO, VARIABLE)
    if isinstance(said, Place):
        return said if said.count > 1 else None
    if said == OFF:
        return None
    found = launcher()
    if said == AUTO:
        return None if found is None else Detection(None, found)
    return Detection(said, found)


def parse(text: str, name: str) -> Place | str:
    """Returns a place, `auto`, `off`, or a name of `METHODS`.

    Args:
      text: What the user has written.
      name: What it is written for.

    Raises:
      ProcessesError: If it is none of these.
    """
    words = [word.strip() for word in text.split(",")]
    if len(words) == 1 and ":" not in text:
        known = (AUTO, OFF, *METHODS)
        if words[0] in known:
            return words[0]
        raise ProcessesError(
            f"{name}={text!r} is none of {', '.join(known)}, and no HOST:PORT,INDEX,COUNT."
            f"{errors.did_you_mean(text, known)}"
        )
    example = f"`{name}=10.0.0.1:1234,0,4` for the first of four"
    if len(words) != 3:
        raise ProcessesError(
            f"{name}={text!r} has {len(words)} parts, HOST:PORT,INDEX,COUNT has three: "
            f"write {example}."
        )
    address, index, count = words
    host, _, port = address.rpartition(":")
    if not host or not _is_number(port) or not 0 < int(port) < 65536:
        raise ProcessesError(
            f"{name}={text!r}: {address!r} is no HOST:PORT. Write {example}; the port is "
            "any free one, 1 to 65535, on the machine of process 0."
        )
    if not _is_number(index) or not _is_number(count):
        raise ProcessesError(
            f"{name}={text!r}: index {index!r} and count {count!r} must be numbers, as in "
            f"{example}."
        )
    if int(index) >= int(count):
        last = f"0 to {int(count) - 1}" if int(count) else "none"
        raise ProcessesError(
            f"{name}={text!r}: there is no process {index} of {count}. Processes are "
            f"counted from 0: {last}."
        )
    return Place(address, int(index), int(count))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


# Name, variables that are all there in a process it started, its index, their count.
_LAUNCHERS = (
    (
        "Slurm",
        ("SLURM_JOB_ID", "SLURM_STEP_NODELIST"),
        "SLURM_PROCID",
        "SLURM_NTASKS",
    ),
    ("Open MPI", (), "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    (
        "Kubernetes",
        ("KUBERNETES_SERVICE_HOST",),
        "JOB_COMPLETION_INDEX",
        "JOB_COMPLETION_INDEX",
    ),
    ("a TPU slice", (), "TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"),
)


def launcher(environ: Mapping[str, str] = os.environ) -> Launcher | None:
    """Returns the launcher that has started this process as one of several, if any.

    It reads only the environment: a process of its own pays nothing.
    """
    for name, needed, index, count in _LAUNCHERS:
        if not all(environ.get(variable) for variable in (*needed, index, count)):
            continue
        if index == count:  # the environment does not say how many there are
            return Launcher(name, _number(environ[index]), None, count)
        hosts = environ[count].split(",")
        number = len(hosts) if len(hosts) > 1 else _number(environ[count])
        if number is not None and number > 1:
            return Launcher(name, _number(environ[index]), number, count)
    return None


def _number(text: str) -> int | None:
    return int(text) if _is_number(text) else None


def index_and_count() -> tuple[int, int]:
    """Returns this process's index, and how many processes there are.

    JAX is neither imported nor started to find out: only a program that has called
    `jax.distributed.initialize` has more than one process.
    """
    jax = sys.modules.get("jax")
    distributed = getattr(jax, "distributed", None)
    if jax is None or distributed is None or not distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()


def leave_if_failed(code: int, failures: Iterable[int]) -> None:
    """Ends this process at once if it has failed as one of several.

    Python would wait for the others at exit, and they wait for this one.

    Args:
      code: Exit code.
      failures: Exit codes of failures.
    """
    if code in failures and index_and_count()[1] > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
