"""Console status lines, and environment detection: `kd.utils.status`."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from kauldron._base import errors, processes, public

on_xmanager = False


class NoXManagerError(errors.UserError, RuntimeError):
    """Something that needs XManager, which is not used here."""


class Status:
    """`kd.utils.status`: where the program runs, and status lines for its user.

    Attributes:
      on_xmanager: Always false.
      is_lead_host: Whether this is the process that writes files, of all of the run.
    """

    on_xmanager = on_xmanager

    @property
    def is_lead_host(self) -> bool:
        return is_lead_host()

    def log(self, message: str) -> None:
        """Prints one line, to stderr."""
        log(message)

    def log_status(self, message: str) -> None:
        """Prints one line about the state of the run."""
        log_status(message)

    def warn(self, message: str) -> None:
        """Prints one warning line."""
        warn(message)

    @property
    def xp(self) -> Any:
        """Always raises `NoXManagerError`, as `wu`, `wid`, `xid` do."""
        raise _nobody_knows("xp", "the experiment")

    @property
    def wu(self) -> Any:
        raise _nobody_knows("wu", "the work unit")

    @property
    def wid(self) -> int:
        raise _nobody_knows("wid", "the number of the work unit")

    @property
    def xid(self) -> int:
        raise _nobody_knows("xid", "the number of the experiment")


def _nobody_knows(name: str, meaning: str) -> NoXManagerError:
    return NoXManagerError(
        f"`status.{name}` is {meaning} on XManager, which this package does not use. "
        "Ask `status.on_xmanager` first; a run is named by its workdir, "
        "`trainer.workdir`."
    )


status = Status()


def is_lead_host() -> bool:
    """Whether this is the process that writes files, of all processes of the run."""
    jax = sys.modules.get("jax")  # without it there is one process
    return jax is None or jax.process_index() == 0


def log(message: str) -> None:
    """Prints one line (to stderr, so that stdout stays for results).

    Only the first process of a run prints: all of them would say the same.
    """
    if not processes.index_and_count()[0]:
        _print(message)


def log_status(message: str) -> None:
    """Prints one line about the state of the run."""
    log(message)


def warn(message: str) -> None:
    """Prints one warning line; processes other than the first add their index."""
    _print(f"Warning{tag()}: {message}")


def warn_alike(message: str) -> None:
    """Prints one warning line that all processes would say: only the first one does."""
    log(f"Warning: {message}")


def tag() -> str:
    """Returns `" (process 3)"` to tell processes apart; empty in the first one."""
    index, _ = processes.index_and_count()
    return f" (process {index})" if index else ""


def _print(message: str) -> None:
    # Written at once: a line of another thread does not get between text and its end.
    # Who reads it may be gone (`2>&1 | head`): a run goes on without.
    with contextlib.suppress(BrokenPipeError):
        print(f"{message}\n", end="", file=sys.stderr, flush=True)


for _public in (NoXManagerError, Status):
    public.move(_public, "kauldron.utils.status_utils")
