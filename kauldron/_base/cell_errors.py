"""Errors in notebooks, as short as they should be there.

IPython asks an exception how it wants to be shown (`_render_traceback_`). Ours answer with
the lines of the user, from the cell on, and their message; what comes out of a model
that Kauldron runs is given the same answer on its way.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from kauldron._base import cells, tracebacks

_FULL = (
    "`%xmode Verbose`, and the cell again, shows every frame; `%debug` enters the last."
)
_RED, _BOLD, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[0m"


def render(error: BaseException) -> list[str]:
    """Returns an error as IPython is to show it: a text for each block of lines."""
    running = cells.shell()
    if running is not None:
        full = running.InteractiveTB
        if getattr(full, "mode", "") == "Verbose":
            return full.structured_traceback(type(error), error, error.__traceback__)
    has_colors = str(getattr(running, "colors", "nocolor")).lower() != "nocolor"
    red, bold, plain = (_RED, _BOLD, _PLAIN) if has_colors else ("", "", "")
    blocks = []
    for place in tracebacks.path_to(error):
        if str(place) in str(error):  # the message has the lines itself
            continue
        where = "" if place.function.startswith("<") else f", in {place.function}"
        blocks.append(f"{place}{where}\n    {place.text}")
    message = f"{bold}{red}{type(error).__name__}{plain}: {error}".rstrip(": ")
    return [*blocks, "\n".join(["", message, *tracebacks.notes_of(error), "", _FULL])]


class Interruption(KeyboardInterrupt):
    """An interrupt that was expected: its message says what is done and what is not."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in a cell."""
        return [f"{type(self).__name__}: {self}"]


@contextlib.contextmanager
def short_errors() -> Iterator[None]:
    """Makes IPython show what is raised in the block by the lines of the user."""
    try:
        yield
    except Exception as e:
        shorten(e)
        raise


@contextlib.contextmanager
def breakpoints_enter_pdb() -> Iterator[None]:
    """Makes `breakpoint()` enter pdb in the block, also in a kernel.

    There it waits for the debugger of an editor; without one, debugpy passes it by.
    """
    hook, debugpy = sys.breakpointhook, sys.modules.get("debugpy")
    if cells.shell() is None or (debugpy is not None and debugpy.is_client_connected()):
        yield
        return
    sys.breakpointhook = sys.__breakpointhook__
    try:
        yield
    finally:
        sys.breakpointhook = hook


def shorten(error: Exception) -> None:
    """Makes IPython show an error by the lines of the user."""
    if cells.shell() is not None and not hasattr(error, "_render_traceback_"):
        answer: Any = error
        answer._render_traceback_ = lambda: render(error)
