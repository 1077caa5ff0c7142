"""What happens before a run starts: a workdir that exists, can be written, is ours."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from kauldron import _arguments, errors
from kauldron.train import _files
from kauldron.utils import status_utils


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
class Setup(_arguments.NamesArguments):
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
        status_utils.log_status(message)


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
            f"{_why_not(workdir, e)}. Choose another with `--cfg.workdir=...`."
        ) from e


def _why_not(workdir: epath.Path, error: OSError) -> str:
    """Returns why a directory cannot be made, or written."""
    for path in (workdir, *workdir.parents):
        if path.is_file():
            what = "it" if path == workdir else f"{os.fspath(path)!r}"
            return f"{what} is a file, not a folder"
    reason = error.strerror or str(error)
    nearest = next((p for p in (workdir, *workdir.parents) if p.is_dir()), workdir)
    if nearest != workdir:
        return f"no folder can be made in {os.fspath(nearest)!r} ({reason})"
    return reason


@contextlib.contextmanager
def owning(trainer: Any, *, has_started: Callable[[], bool]) -> Iterator[None]:
    """Prepares the workdir and owns it inside the block; see `Setup.run` and `lock`.

    A run that ends before it has started leaves nothing that was not there before.

    Args:
      trainer: The run.
      has_started: Asked when the block is left by an error.

    Raises:
      WorkdirError: If there is no workdir, it cannot be written, or is in use.
    """
    workdir = trainer.workdir
    is_local = workdir is not None and not _files.is_remote(workdir)
    folders = (workdir, *workdir.parents) if is_local else ()
    made = [path for path in folders if not path.exists()]
    try:
        trainer.setup.run(trainer)
        with lock(workdir, stays=has_started):
            yield
    except BaseException:
        if not has_started():
            with contextlib.suppress(OSError):  # not empty: of somebody else
                for path in made:
                    os.rmdir(path)
        raise


@contextlib.contextmanager
def lock(
    workdir: epath.Path, *, stays: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Owns the workdir inside the block; the lock goes away with the process.

    Args:
      workdir: Directory of the run.
      stays: Whether the file of the lock stays, if the block has made it and is left by
        an error.

    Raises:
      WorkdirError: If another process owns it.
    """
    if not status_utils.is_lead_host():
        yield
        return
    path = workdir / ".lock"
    was_there = path.exists()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_files.exclusive(path, blocking=False))
        except BlockingIOError:
            raise WorkdirError(
                f"Another process is training in {os.fspath(workdir)!r}. Wait for it, "
                "stop it, or choose another `--cfg.workdir=...`."
            ) from None
        try:
            yield
        except BaseException:
            if not was_there and not stays():
                path.unlink(missing_ok=True)
            raise
