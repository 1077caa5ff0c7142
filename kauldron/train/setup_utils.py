"""What happens before a run starts: a workdir that exists, can be written, is ours."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from kauldron._base import console, errors, shared_files


class WorkdirError(errors.UserError, ValueError):
    """The workdir is missing, cannot be written, or is in use."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TqdmInfo:
    """How the progress of a run is shown.

    Attributes:
      desc: Name of the run in the live display.
      log_xm: Accepted for compatibility.
    """

    desc: str = "train"
    log_xm: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """Preparation of a run.

    Attributes:
      tags: Names of the run, a list or `'a,b'`; kept in the config.
      note_template: A note; kept in the config.
      tqdm_info: Names the run in the display of its progress.
      eval_only: Whether the run only evaluates.
      preemptable_eval: Whether a standalone evaluation can continue after a restart.
      compilation_cache: Whether compiled programs are kept for later runs in a cache
        directory of the user; `KAULDRON_COMPILATION_CACHE=0` says no, too. A directory
        set in JAX itself (`JAX_COMPILATION_CACHE_DIR`) is used as it is.
    """

    tags: Sequence[str] | str = ()
    note_template: str = ""
    tqdm_info: TqdmInfo = dataclasses.field(default_factory=TqdmInfo)
    eval_only: bool = False
    preemptable_eval: bool = False
    compilation_cache: bool = True

    def run(self, trainer: Any) -> None:
        """Creates the workdir.

        Raises:
          WorkdirError: If there is none, or it cannot be written.
        """
        if trainer.workdir is None:
            raise WorkdirError(
                "No workdir: say where checkpoints and results go, with "
                "`workdir='runs/my_run'` of the Trainer, or `--cfg.workdir=runs/my_run` "
                "on the command line."
            )
        make_writable(trainer.workdir)

    def log_status(self, message: str) -> None:
        """Prints one line about the state of the run."""
        console.log_status(message)


def make_writable(workdir: epath.Path) -> None:
    """Creates a directory and makes sure that files can be made in it.

    Raises:
      WorkdirError: If that is impossible.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe-{uuid.uuid4().hex}"
        probe.write_text("")
        probe.unlink()
    except OSError as e:
        raise WorkdirError(
            f"The workdir {os.fspath(workdir)!r} cannot be written: "
            f"{e.strerror or e}. Choose another with `--cfg.workdir=...`."
        ) from e


@contextlib.contextmanager
def lock(workdir: epath.Path) -> Iterator[None]:
    """Owns the workdir inside the block; the lock goes away with the process.

    Raises:
      WorkdirError: If another process owns it.
    """
    with contextlib.ExitStack() as stack:
        if console.is_lead_host():
            try:
                stack.enter_context(
                    shared_files.exclusive(workdir / ".lock", blocking=False)
                )
            except BlockingIOError:
                raise WorkdirError(
                    f"Another process is training in {os.fspath(workdir)!r}. Wait for it, "
                    "stop it, or choose another `--cfg.workdir=...`."
                ) from None
        yield
