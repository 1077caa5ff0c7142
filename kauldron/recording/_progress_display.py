"""Live progress displays, drawn in threads a few times a second."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import html
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from kauldron.recording import curves

# Drawing takes about 2 ms of a core that the training may need.
_DRAWS_PER_SEC = 2.0
_BAR_WIDTHS = (10, 40)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is shown at one moment.

    Attributes:
      label: Name of the run.
      done: Part of the steps that is done, in [0, 1].
      fields: Words beside the bar, the most important ones first.
      lines: Further lines, each in words, the most important ones first.
      losses: Name of a curve -> (steps, losses) so far; displays that can, draw them.
    """

    label: str
    done: float
    fields: Sequence[str]
    lines: Sequence[Sequence[str]]
    losses: Mapping[str, tuple[Sequence[float], Sequence[float]]] = dataclasses.field(
        default_factory=dict
    )


class Display(Protocol):
    """A display that is running.

    Attributes:
      shows_lines: Whether lines that are printed meanwhile appear above it.
    """

    shows_lines: bool

    def stop(self) -> None:
        """Shows the last state, and restores the screen."""


def start(snapshot: Callable[[], Snapshot]) -> Display | None:
    """Starts the display that suits the environment; `None` for plain lines."""
    if _in_notebook():
        return NotebookDisplay(snapshot)
    # The run may be part of another one that has a display.
    is_taken = hasattr(sys.stderr, "rich_proxied_file")
    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return TerminalDisplay(snapshot) if is_terminal and not is_taken else None


class TerminalDisplay:
    """A bar and a few lines at the bottom of a terminal; what is printed goes above."""

    shows_lines = True

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        from rich import console, live

        self._snapshot = snapshot
        self._console = console.Console(file=sys.stderr)
        self._live = live.Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_DRAWS_PER_SEC,
            vertical_overflow="crop",
        )
        self._exit = contextlib.ExitStack()
        original = sys.stdout, sys.stderr
        self._live.start()
        self._exit.callback(self._live.stop)
        # If the process is killed, nothing would show it again.
        self._console.show_cursor(True)
        self._exit.enter_context(_redirected_loggers(original))

    def stop(self) -> None:
        self._exit.close()

    def _render(self) -> Any:
        from rich import text

        lines = [
            text.Text.assemble(*line, no_wrap=True, overflow="crop")
            for line in layout(self._snapshot(), self._console.width)
        ]
        return text.Text("\n").join(lines)


class NotebookDisplay:
    """The same as an output of the cell that is updated in place."""

    shows_lines = False

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        display: Any = importlib.import_module("IPython.display")
        self._snapshot = snapshot
        self._handle = display.display(self._bundle(), raw=True, display_id=True)
        self._stopping = threading.Event()
        # An output belongs to the cell whose context this is.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="kauldron progress", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stopping.wait(1 / _DRAWS_PER_SEC)
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        snapshot = self._snapshot()
        words = [f"{snapshot.label} {snapshot.done:.0%}", *snapshot.fields]
        lines = ["  ".join(x) for x in (words, *snapshot.lines)]
        escaped = html.escape("\n".join(lines))
        bar = f'<progress max="1" value="{snapshot.done:.4f}"></progress>'
        return {
            "text/plain": "\n".join(lines),
            "text/html": f"{bar}<pre>{escaped}</pre>{_picture(snapshot)}",
        }


def _picture(snapshot: Snapshot) -> str:
    """Returns the losses as an SVG text, from the second point on."""
    if not any(len(steps) > 1 for steps, _ in snapshot.losses.values()):
        return ""
    return curves.draw(snapshot.losses, title="loss")


def layout(snapshot: Snapshot, width: int) -> list[list[tuple[str, str]]]:
    """Returns lines, each as texts with their styles; none is wider.

    Words that don't fit are left out, from the last one on; the bar takes what is left.
    """
    label = snapshot.label[: max(width - 8, 0)]
    start = [label, f" {snapshot.done:4.0%}"]
    fields = _fit(snapshot.fields, width - len("  ".join(start)) - 2 - _BAR_WIDTHS[0])
    left = width - len("  ".join([*start, *fields])) - 2
    bar_width = max(min(left, _BAR_WIDTHS[1]), 0)
    num_done = round(snapshot.done * bar_width)
    first_line = [
        (f"{label} ", "bold"),
        ("━" * num_done, "green"),
        ("━" * (bar_width - num_done), "bright_black"),
        (start[1] + "  ", ""),
        ("  ".join(fields), "cyan"),
    ]
    others = [
        ("  ".join(["", *_fit(words, width - 2)]), "") for words in snapshot.lines
    ]
    return [first_line, *([line] for line in others)]


def _fit(words: Sequence[str], width: int) -> list[str]:
    """Returns the first words that fit into a width, two blanks between them."""
    fitting: list[str] = []
    for word in words:
        if len("  ".join([*fitting, word])) > width:
            break
        fitting.append(word)
    return fitting


@contextlib.contextmanager
def _redirected_loggers(original: tuple[Any, Any]) -> Iterator[None]:
    """Redirects loggers from the original streams to the current ones."""
    stdout, stderr = original
    current = {id(stdout): sys.stdout, id(stderr): sys.stderr}
    changed = []
    for handler in _stream_handlers():
        stream = handler.stream
        if id(stream) in current:
            handler.setStream(current[id(stream)])
            changed.append((handler, stream))
    try:
        yield
    finally:
        for handler, stream in changed:
            handler.setStream(stream)


def _stream_handlers() -> list[logging.StreamHandler[Any]]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = [h for logger in loggers for h in getattr(logger, "handlers", ())]
    # absl's handler wraps another one.
    handlers += [h.python_handler for h in handlers if hasattr(h, "python_handler")]
    return [h for h in handlers if isinstance(h, logging.StreamHandler)]


def _in_notebook() -> bool:
    """Whether this runs in a kernel; then IPython is already imported."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None
