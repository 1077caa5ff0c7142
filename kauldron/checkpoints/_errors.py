"""What can be wrong with a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from kauldron import errors

_MAX_LINES = 8


class CheckpointError(errors.UserError, ValueError):
    """A checkpoint cannot be used for what was asked."""


class NoCheckpointError(errors.UserError, FileNotFoundError):
    """There is no such run, or it has no such step."""


def listing(lines: Sequence[str], *, max_lines: int = _MAX_LINES) -> str:
    """Returns lines indented below each other; of very many, the first."""
    shown = list(lines[:max_lines])
    if len(lines) > max_lines:
        shown.append(f"and {len(lines) - max_lines} more")
    return "".join(f"\n  {line}" for line in shown)
