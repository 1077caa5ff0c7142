"""Source locations of config nodes, recorded without keeping frames alive."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kauldron._base import tracebacks

# Packages and modules, with what is in them, whose frames are never the user's.
_SKIPPED_MODULES = ("kauldron.konfig", "ml_collections", "contextlib", "copy", "abc")


class Origin(NamedTuple):
    """A place in a file, or the flag that made a value.

    Attributes:
      source: File name, or the text of a flag.
      line: Line number, from 1; 0 for a flag.
    """

    source: str
    line: int = 0

    def __str__(self) -> str:
        return (
            f"{tracebacks.show_path(self.source)}:{self.line}"
            if self.line
            else self.source
        )


_safe_objects: contextvars.ContextVar[Origin | None] = contextvars.ContextVar(
    "konfig_origin", default=None
)


def current() -> Origin | None:
    """Returns the place of the innermost frame that is not konfig's own."""
    if (declared := _safe_objects.get()) is not None:
        return declared
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not _is_skipped(name):
            return Origin(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


@functools.lru_cache(maxsize=1024)
def _is_skipped(module: str) -> bool:
    return is_within(module, _SKIPPED_MODULES)


def is_within(module: str, packages: Iterable[str]) -> bool:
    """Whether a module is one of the packages, or in one of them."""
    return any(module == p or module.startswith(f"{p}.") for p in packages)


@contextlib.contextmanager
def declare(origin: Origin | None) -> Iterator[None]:
    """Within the block, everything is said to have been written at `origin`."""
    token = _safe_objects.set(origin)
    try:
        yield
    finally:
        _safe_objects.reset(token)
