"""`kauldron dataset create|ls|show|rm`: data under a name."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron.cli import _flags
from kauldron.tracking.registry import tables


def create(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron dataset create NAME PATH`: as it is now."""

    def work(command: _flags.CommandLine) -> None:
        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say what and where: `kauldron dataset create digits data/digits.npz`."
            )
        name, path = command.positional
        table = tracking.Registry.open().dataset_table
        print(tables.describe_thing(table.create(name, path, command["description"])))

    return _flags.run("dataset create", work, argv, flag_values)


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron dataset ls`: all of them."""

    def work(command: _flags.CommandLine) -> None:
        datasets = tracking.Registry.open().datasets()
        if command["json"]:
            print(tables.things_json(datasets))
        elif datasets:
            print(tables.things_table(datasets))

    return _flags.run("dataset ls", work, argv, flag_values)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron dataset show NAME`: reads it, to see whether it is as it was entered."""

    def work(command: _flags.CommandLine) -> None:
        table = tracking.Registry.open().dataset_table
        dataset = table.find(_name(command))
        if command["json"]:
            print(tables.things_json([dataset]))
        else:
            print(tables.describe_thing(dataset, content=table.state(dataset)))

    return _flags.run("dataset show", work, argv, flag_values)


def rm(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron dataset rm NAME`: its files stay."""

    def work(command: _flags.CommandLine) -> None:
        name = _name(command)
        tracking.Registry.open().dataset_table.remove(name)
        print(f"The dataset {name!r} is forgotten; its files stay.")

    return _flags.run("dataset rm", work, argv, flag_values)


def _name(command: _flags.CommandLine) -> str:
    if not command.positional:
        raise _flags.UsageError("Say which dataset, by its name.")
    return command.positional[0]
