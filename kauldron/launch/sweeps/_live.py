"""The table of a sweep while it runs: drawn anew in a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from kauldron.launch.sweeps import _overview
from kauldron.launch.sweeps._running import Show


@contextlib.contextmanager
def show_live() -> Iterator[Show]:
    """Yields what shows an overview, see `run_sweep`; the table goes with the block."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda overview: None
        return
    from rich import console, live, text

    with live.Live(
        console=console.Console(file=sys.stderr), transient=True, auto_refresh=False
    ) as display:

        def show(overview: _overview.Overview) -> None:
            table = f"{overview}\n{overview.summary()}"
            display.update(text.Text(table), refresh=True)

        yield show
