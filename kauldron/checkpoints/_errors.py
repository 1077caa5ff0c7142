"""Exceptions of checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence

from etils import epath

from kauldron._base import errors

_MAX_LINES = 8


class CheckpointError(errors.UserError, ValueError):
    """A checkpoint cannot be used for what was asked."""


class NoCheckpointError(errors.UserError, FileNotFoundError):
    """There is no such run, or it has no such step."""


class MismatchError(CheckpointError):
    """A checkpoint does not match the run that restores it."""


class DamagedCheckpointError(CheckpointError):
    """Files of a checkpoint are not what was written.

    Attributes:
      step: Which step.
      folder: Its folder.
      problems: `"<file>: <what is wrong>"` for each bad file.
    """

    def __init__(self, step: int, folder: epath.Path, problems: Sequence[str]) -> None:
        super().__init__(
            f"The checkpoint of step {step} is damaged, in {os.fspath(folder)!r}:"
            f"{listing(problems)}"
        )
        self.step = step
        self.folder = folder
        self.problems = problems


class FileWriteError(errors.Failure, OSError):
    """A file of weights could not be written."""


class SaveError(errors.Failure, RuntimeError):
    """A checkpoint could not be written.

    Attributes:
      step: Which step.
      cause: What Orbax said, or the system.
      is_no_space: Whether the disk is full.
    """

    def __init__(
        self,
        step: int,
        directory: epath.Path,
        cause: Exception,
        *,
        is_no_space: bool,
    ) -> None:
        reason = cause.strerror if isinstance(cause, OSError) else None
        super().__init__(
            f"The checkpoint of step {step} could not be written to "
            f"{os.fspath(directory)!r}: {reason or _first_line(cause)}. The "
            "ones before it are intact."
        )
        self.step = step
        self.cause = cause
        self.is_no_space = is_no_space


def _first_line(e: Exception) -> str:
    lines = str(e).splitlines() or [""]
    return f"{type(e).__name__}: {lines[0]}".rstrip(". ")


def listing(lines: Sequence[str], *, max_lines: int = _MAX_LINES) -> str:
    """Returns the lines, indented, one below the other; at most the first few."""
    shown = list(lines[:max_lines])
    if len(lines) > max_lines:
        shown.append(f"and {len(lines) - max_lines} more")
    return "".join(f"\n  {line}" for line in shown)
