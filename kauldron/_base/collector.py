"""Python's garbage collector, which the start of a run does without, as do short commands.

A start makes half a million objects that stay (modules, classes, traced programs). The
collector looks through all of them again and again, and finds nothing: a fifth of the
processor time from the command to the first step.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# More than a start makes: garbage of one that makes far more is still found.
_MAX_NEW_OBJECTS = 1_000_000

_Thresholds = tuple[int, int, int]
_before: list[_Thresholds] = []  # what is to be restored, if anything


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Inside the block nothing is collected, until `resume`.

    For programs that own their process: the setting is that of all threads.
    """
    if _before:  # inside of another such block, which restores it
        yield
        return
    was_frozen = gc.get_freeze_count() > 0
    _before.append(gc.get_threshold())
    gc.set_threshold(_MAX_NEW_OBJECTS, *_before[0][1:])
    try:
        yield
    finally:
        resume()
        if not was_frozen:
            gc.unfreeze()


def resume() -> None:
    """Says that the start is over; does nothing outside of `postponed`.

    What is there by now is not looked through as long as the block lasts.
    """
    if _before:
        if not gc.get_freeze_count():
            gc.freeze()
        gc.set_threshold(*_before.pop())
