"""The table of trials while they run: drawn anew in a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Protocol


class Table(Protocol):
    """What is shown: `print` gives the table."""

    def summary(self) -> str:
        """Returns the line below it."""
        ...


@contextlib.contextmanager
def show_live() -> Iterator[Callable[[Table], None]]:
    """Yields what shows a table, see `run_sweep`; the table goes with the block."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda table: None
        return
    from rich import console, live, text

    with live.Live(
        console=console.Console(file=sys.stderr), transient=True, auto_refresh=False
    ) as display:

        def show(table: Table) -> None:
            display.update(text.Text(f"{table}\n{table.summary()}"), refresh=True)

        yield show
