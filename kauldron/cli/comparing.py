"""`kauldron runs compare|plot` and `kauldron report`: runs beside each other."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron.cli import _flags, command_runner


def compare(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs compare RUN RUN...`: a table of what differs, JSON or CSV."""

    def work(command: _flags.CommandLine) -> None:
        registry = tracking.Registry.open()
        runs = tracking.chosen_runs(registry, command.positional, at_least=2)
        compared = tracking.compare(runs, all_values=command["all"])
        if command["json"]:
            print(json.dumps(compared.as_dict(), indent=1, allow_nan=False))
        elif command["csv"]:
            print(compared.as_csv(), end="")
        else:
            print(compared)

    return _flags.run("runs compare", work, argv, flag_values)


def plot(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs plot RUN... [--metric=...] [--out=curves.png]`."""

    def work(command: _flags.CommandLine) -> None:
        registry = tracking.Registry.open()
        runs = tracking.chosen_runs(registry, command.positional, at_least=1)
        curves = tracking.curves_of(
            registry, runs, command["metric"], smooth=command["smooth"]
        )
        if command["out"]:
            with command_runner.writing(command["out"], is_file=True):
                tracking.save_curves(curves, command["out"], log_scale=command["log"])
            print(f"The curves of {curves[0].metric} are in {command['out']}.")
            return
        size = shutil.get_terminal_size((80, 24))
        text = tracking.draw_in_terminal(
            curves,
            width=size.columns,
            height=max(10, min(size.lines, 30) - len(curves) - 1),
            colors=sys.stdout.isatty(),
            log_scale=command["log"],
        )
        print(text)

    return _flags.run("runs plot", work, argv, flag_values)


def report(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron report RUN... --out=DIR`: Markdown, HTML and JSON."""

    def work(command: _flags.CommandLine) -> None:
        if not command.positional:
            raise _flags.UsageError("Say which run: its id, its name, or its workdir.")
        out = command.required("out", "report")
        registry = tracking.Registry.open()
        runs = tracking.chosen_runs(registry, command.positional, at_least=1)
        roles = dict(_role(text) for text in command["columns"])
        if len(runs) == 1:
            made = tracking.make_report(
                registry, runs[0], predicted_in=command["predictions"], roles=roles
            )
        elif roles or command["predictions"]:
            raise _flags.UsageError(
                "`--predictions` and `--columns` are of one run: a report of several has "
                "their curves, and what differs."
            )
        else:
            made = tracking.make_runs_report(registry, runs)
        with command_runner.writing(out):
            paths = tracking.write_report(made, out, formats=command["formats"])
        for path in paths:
            print(path)

    return _flags.run("report", work, argv, flag_values)


def _role(text: str) -> tuple[str, str]:
    role, separator, column = text.partition("=")
    if not separator:
        raise _flags.UsageError(
            f"`--columns` says what a column is, such as `labels=batch.label`: got "
            f"{text!r}."
        )
    return role, column
