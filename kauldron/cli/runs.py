"""`kauldron runs index|ls|show|diff|tag|archive|rm`: the runs of a workspace."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron._base import console
from kauldron.cli import _flags, command_runner
from kauldron.tracking.registry import tables


def index(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs index [DIR]`: those that are known unless a folder is given."""

    def work(command: _flags.CommandLine) -> None:
        folder = command.positional[0] if command.positional else None
        report = tracking.Registry.open().index(folder)
        for problem in report.problems:
            console.warn(problem)
        print(report.describe())

    return _flags.run("runs index", work, argv, flag_values)


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs ls [--where=...] [--sort=...]`: a table, JSON or CSV."""

    def work(command: _flags.CommandLine) -> None:
        names = ("where", "sort", "project", "experiment", "archived", "limit")
        given = {name: command[name] for name in names}
        registry = tracking.Registry.open()
        runs = registry.runs(**given)
        registry.check_names(command["columns"] or ())
        if command["json"]:
            print(tables.runs_json(runs))
        elif command["csv"]:
            print(tables.runs_csv(runs, command["columns"] or None), end="")
        elif runs:
            columns = command["columns"] or tables.named_columns(
                given["where"], given["sort"]
            )
            print(tables.runs_table(runs, columns or tables.usual_columns(runs)))
        elif registry.runs(archived=True, limit=1):
            console.log(f"No runs in the registry {registry.place} are like that.")
        else:
            console.log(
                f"The registry {registry.place} has no runs yet: `kauldron runs index .` "
                "enters those below this folder."
            )

    return _flags.run("runs ls", work, argv, flag_values)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs show RUN`: metrics, parameters, tags."""

    def work(command: _flags.CommandLine) -> None:
        run = tracking.Registry.open().run(_one(command))
        if command["json"]:
            print(json.dumps(tables.run_dict(run), indent=1, allow_nan=False))
        else:
            print(tables.describe_run(run))

    return _flags.run("runs show", work, argv, flag_values)


def diff(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs diff RUN RUN`: their configs; code 1 if anything differs."""
    differ = False

    def work(command: _flags.CommandLine) -> None:
        from kauldron import konfig

        nonlocal differ
        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say which two: `kauldron runs diff run_0012 run_0013`."
            )
        registry = tracking.Registry.open()
        runs = [registry.run(name) for name in command.positional]
        difference = konfig.diff(*map(registry.config_file, runs))
        is_terminal = sys.stdout.isatty()
        print(difference.to_text(color=is_terminal) if difference else "No difference.")
        differ = bool(difference)

    code = _flags.run("runs diff", work, argv, flag_values)
    return (
        command_runner.EXIT_FAILED
        if code == command_runner.EXIT_DONE and differ
        else code
    )


def tag(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs tag RUN... --add=...`: words, a name, where they belong."""

    def work(command: _flags.CommandLine) -> None:
        registry = tracking.Registry.open()
        names = ("name", "project", "family", "experiment")
        given = {name: command[name] for name in names}
        if not (command["add"] or command["remove"] or any(given.values())):
            raise _flags.UsageError(
                "Say what they are: `--add=good,small`, `--remove=new`, `--name=...`, "
                "`--project=...`."
            )
        for run in _chosen(command, registry):
            changed = registry.change(
                run, add_tags=command["add"], remove_tags=command["remove"], **given
            )
            words = f": {' '.join(changed.tags)}" if changed.tags else " has no tags"
            print(f"{changed.id} {changed.name}{words}")

    return _flags.run("runs tag", work, argv, flag_values)


def archive(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs archive RUN... [--undo]`: leaves them out of lists."""

    def work(command: _flags.CommandLine) -> None:
        registry = tracking.Registry.open()
        for run in _chosen(command, registry):
            registry.change(run, archived=not command["undo"])
            print(
                f"{run.id} {run.name} is {'back' if command['undo'] else 'archived'}."
            )

    return _flags.run("runs archive", work, argv, flag_values)


def rm(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs rm RUN... [--files]`: forgets them."""

    def work(command: _flags.CommandLine) -> None:
        registry = tracking.Registry.open()
        for run in _chosen(command, registry):
            is_there = os.path.exists(run.workdir) or "://" in run.workdir
            registry.remove(run, with_files=command["files"])
            files = "is deleted" if command["files"] else "stays"
            if not is_there:
                files = "was gone already"
            shown = os.path.relpath(run.workdir)
            print(f"{run.id} {run.name} is forgotten; its workdir {shown!r} {files}.")

    return _flags.run("runs rm", work, argv, flag_values)


def _one(command: _flags.CommandLine) -> str:
    if not command.positional:
        raise _flags.UsageError("Say which run: its id, its name, or its workdir.")
    return command.positional[0]


def _chosen(
    command: _flags.CommandLine, registry: tracking.Registry
) -> list[tracking.Run]:
    """Returns the runs that are named, or those of a filter; all are found, or none."""
    if command["where"] is not None:
        if command.positional:
            raise _flags.UsageError("Name runs, or give `--where`: not both.")
        return registry.runs(command["where"], archived=True)
    return [registry.run(_one(command)), *map(registry.run, command.positional[1:])]
