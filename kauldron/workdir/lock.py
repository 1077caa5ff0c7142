"""A workdir that exists, can be written, and belongs to one process at a time."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

from etils import epath

from kauldron._base import console, errors, shared_files


class WorkdirError(errors.UserError, ValueError):
    """The workdir is missing, cannot be written, or is in use."""


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
def owned(workdir: epath.Path) -> Iterator[None]:
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
