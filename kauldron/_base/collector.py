"""Python's garbage collector, which the start of a run does without, as do short commands.

A start makes half a million objects that stay (modules, classes, traced programs). The
collector looks through all of them again and again, and finds nothing: a fifth of the
processor time from the command to the first step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator

# More than a start makes: garbage of one that makes far more is still found.
_MAX_NEW_OBJECTS = 1_000_000


@dataclasses.dataclass(eq=False)
class _Start:
    """Of a program.

    Attributes:
      thresholds: Those that are to be restored.
      is_over: Whether they are.
      has_frozen: Whether the collector was told to look no more at what was there.
    """

    thresholds: tuple[int, int, int]
    is_over: bool = False
    has_frozen: bool = False


_starts: list[_Start] = []  # one at most
_is_frozen_by_others = False


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Inside the block nothing is collected, until `resume`.

    For programs that own their process: the setting is that of all threads.
    """
    if _starts:  # inside of another such block, which restores it
        yield
        return
    start = _Start(gc.get_threshold())
    _starts.append(start)
    gc.set_threshold(_MAX_NEW_OBJECTS, *start.thresholds[1:])
    try:
        yield
    finally:
        _starts.clear()
        gc.set_threshold(*start.thresholds)
        if start.has_frozen:
            gc.unfreeze()


def resume() -> None:
    """Says that the start is over; does nothing outside of `postponed`.

    What is there by now is not looked through as long as the block lasts.
    """
    for start in _starts:
        if start.is_over:
            continue
        start.is_over = True
        if not _have_others_frozen():
            gc.freeze()
            start.has_frozen = True
        gc.set_threshold(*start.thresholds)


def _have_others_frozen() -> bool:
    """Whether the program did, before its first start: Python counts objects one by one."""
    global _is_frozen_by_others
    _is_frozen_by_others = _is_frozen_by_others or gc.get_freeze_count() > 0
    return _is_frozen_by_others
