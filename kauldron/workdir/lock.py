"""Workdir creation and locking: writable, and owned by one process at a time."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator

from etils import epath

from kauldron._base import console, errors, shared_files


class WorkdirError(errors.UserError, ValueError):
    """The workdir is missing, cannot be written, or is in use."""


def given(workdir: epath.PathLike | None) -> epath.Path:
    """Returns the workdir of a run.

    Raises:
      WorkdirError: If the run has none.
    """
    if workdir is None:
        raise WorkdirError(
            "No workdir: say where checkpoints and results are, with "
            "`workdir='runs/my_run'` of the Trainer, or `--cfg.workdir=runs/my_run` on "
            "the command line."
        )
    return epath.Path(workdir)


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
    path = shared_files.file_on_the_way(workdir)
    if path is not None:
        what = "it" if path == workdir else f"{os.fspath(path)!r}"
        return f"{what} is a file, not a folder"
    reason = error.strerror or str(error)
    nearest = next((p for p in (workdir, *workdir.parents) if p.is_dir()), workdir)
    if nearest != workdir:
        return f"no folder can be made in {os.fspath(nearest)!r} ({reason})"
    return reason


@contextlib.contextmanager
def owned(
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
    if not console.is_lead_host():
        yield
        return
    path = workdir / ".lock"
    was_there = path.exists()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(shared_files.exclusive(path, blocking=False))
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
