"""`kauldron artifact create|ls|show|promote|rm`: versions of what runs have made."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron.cli import _flags
from kauldron.tracking.registry import tables


def create(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron artifact create NAME PATH`: the next version."""

    def work(command: _flags.CommandLine) -> None:
        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say what and where: `kauldron artifact create digits exports/digits`."
            )
        registry = tracking.Registry.open()
        run = command["run"]
        name, path = command.positional
        artifact = registry.artifact_table.create(
            name,
            path,
            kind=command["kind"],
            run=None if run is None else registry.run(run),
            tags=command["tags"],
            description=command["description"] or "",
        )
        print(tables.describe_thing(artifact))

    return _flags.run("artifact create", work, argv, flag_values)


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron artifact ls`: all versions."""

    def work(command: _flags.CommandLine) -> None:
        artifacts = tracking.Registry.open().artifacts()
        if command["json"]:
            print(tables.things_json(artifacts))
        elif artifacts:
            print(tables.things_table(artifacts))

    return _flags.run("artifact ls", work, argv, flag_values)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron artifact show NAME[@VERSION]`: that in production, else the newest."""

    def work(command: _flags.CommandLine) -> None:
        artifact = tracking.Registry.open().artifact_table.find(_name(command))
        if command["json"]:
            print(tables.things_json([artifact]))
        else:
            print(tables.describe_thing(artifact))

    return _flags.run("artifact show", work, argv, flag_values)


def promote(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron artifact promote NAME[@VERSION] [--to=STAGE]`: the next stage."""

    def work(command: _flags.CommandLine) -> None:
        table = tracking.Registry.open().artifact_table
        artifact, archived = table.promote(_name(command), command["to"])
        print(f"{artifact.name}@{artifact.version} is in stage {artifact.stage}.")
        for other in archived:
            print(f"{other.name}@{other.version} was in it before, and is archived.")

    return _flags.run("artifact promote", work, argv, flag_values)


def rm(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron artifact rm NAME@VERSION`: its files stay."""

    def work(command: _flags.CommandLine) -> None:
        gone = tracking.Registry.open().artifact_table.remove(_name(command))
        print(f"{gone.name}@{gone.version} is forgotten; {gone.path!r} stays.")

    return _flags.run("artifact rm", work, argv, flag_values)


def _name(command: _flags.CommandLine) -> str:
    if not command.positional:
        raise _flags.UsageError("Say which artifact, such as digits@3.")
    return command.positional[0]
