"""`kauldron ui`: all runs, in the terminal or as a web page."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron._base import console, extras
from kauldron.cli import _flags


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ui [--web] [--port=...]`: until it is ended."""

    def work(command: _flags.CommandLine) -> None:
        if not command["web"]:
            if not sys.stdout.isatty():
                raise _flags.UsageError(
                    "`kauldron ui` needs a terminal. `kauldron runs ls` prints runs, and "
                    "`kauldron ui --web` serves a page."
                )
            extras.load("textual", needed_by="`kauldron ui`", extra="tracking")
            tracking.show_runs(tracking.Registry.open())
            return
        with tracking.PageServer(
            tracking.Registry.open(), port=command["port"]
        ) as server:
            console.log(f"Runs are at {server.url} until Ctrl-C.")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.log("Ended.")

    return _flags.run("ui", work, argv, flag_values)
