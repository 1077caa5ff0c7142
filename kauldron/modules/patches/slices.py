"""2.5-D context: neighbouring slices as channels, reflected at the ends."""

from __future__ import annotations

import numpy as np

from kauldron.modules.patches import tilings


def neighbours(length: int, num_context: int) -> np.ndarray:
    """Returns the slices around each slice, `i32[length num_context+1]`, ascending.

    `num_context // 2` lie below a slice and the rest above it; behind an end they are
    reflected: slice -1 is slice 1.

    Raises:
      PatchError: If the number is negative.
    """
    if num_context < 0:
        raise tilings.PatchError(
            f"`context_slices` is a number of neighbours: got {num_context}."
        )
    below = num_context // 2
    around = np.arange(length)[:, None] + np.arange(num_context + 1) - below
    period = max(1, 2 * (length - 1))
    around = np.abs(around) % period
    return (
        np.minimum(around, period - around).astype(np.int32)
        if length > 1
        else (np.zeros_like(around, np.int32))
    )


def check_context(size: tilings.Size, context_slices: int) -> None:
    """Raises `PatchError` unless patches with context are single slices."""
    if not context_slices:
        return
    if isinstance(size, int) or size[0] != 1:
        raise tilings.PatchError(
            "`context_slices` stacks neighbours of single slices into channels: got "
            f"patches of size {size!r}. Begin the size with 1, such as (1, 128, 128)."
        )
