"""`kauldron data inspect|summary|convert`: tables in files, without a config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import data
from kauldron.cli import _flags, command_runner


def inspect(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data inspect FILE`: a line per column."""

    def work(command: _flags.CommandLine) -> None:
        _print(data.inspect_table(_needed(command, "FILE")[0]), command["json"])

    return _flags.run("data inspect", work, argv, flag_values)


def summary(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data summary DIR`: a line per table."""

    def work(command: _flags.CommandLine) -> None:
        _print(data.summarise_folder(_needed(command, "DIR")[0]), command["json"])

    return _flags.run("data summary", work, argv, flag_values)


def convert(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron data convert FILE OUT`: suffixes tell the formats."""

    def work(command: _flags.CommandLine) -> None:
        source, target = _needed(command, "FILE OUT")
        columns = data.read_table(source)
        with command_runner.writing(target, is_file=True):
            data.write_table(target, columns, overwrite=command["overwrite"])
        print(data.inspect_table(target).headline)

    return _flags.run("data convert", work, argv, flag_values)


def _needed(command: _flags.CommandLine, names: str) -> Sequence[str]:
    if len(command.positional) < len(names.split()):
        raise _flags.UsageError(f"Say {names}: see --help.")
    return command.positional


def _print(summary: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary.as_dict(), indent=1))
    else:
        print(summary)
