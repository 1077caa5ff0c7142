"""`kauldron project|family|experiment create|ls|show|rm`: groups of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from kauldron import tracking
from kauldron.cli import _flags
from kauldron.tracking.registry import tables


def _named(command: _flags.CommandLine, kind: str) -> str:
    if not command.positional:
        raise _flags.UsageError(f"Say which {kind}, by its name.")
    return command.positional[0]


def _create(kind: str, command: _flags.CommandLine) -> None:
    registry = tracking.Registry.open()
    name = _named(command, kind)
    is_new = registry.group_table.create(
        kind,
        name,
        project="" if kind == "project" else command["project"] or registry.project,
        family=(command["family"] or "") if kind == "experiment" else "",
        description=command["description"],
    )
    state = "was made" if is_new else "was there already"
    if not is_new and command["description"] is not None:
        state += f"; its description is {command['description']!r} now"
    print(f"The {kind} {name!r} {state}.")


def _ls(kind: str, command: _flags.CommandLine) -> None:
    registry = tracking.Registry.open()
    listed: dict[str, Callable[[], list[Any]]] = {
        "project": registry.projects,
        "family": registry.families,
        "experiment": registry.experiments,
    }
    groups = listed[kind]()
    if kind != "project" and command["project"]:
        registry.group_table.find("project", command["project"])
        groups = [group for group in groups if group.project == command["project"]]
    if command["json"]:
        print(tables.things_json(groups))
    elif groups:
        print(tables.things_table(groups))


def _show(kind: str, command: _flags.CommandLine) -> None:
    registry = tracking.Registry.open()
    project = None if kind == "project" else command["project"]
    group = registry.group_table.find(kind, _named(command, kind), project)
    if command["json"]:
        print(tables.things_json([group]))
        return
    print(tables.describe_thing(group))
    runs = registry.runs_of(group)
    if runs:
        print(f"\n{tables.runs_table(runs, tables.usual_columns(runs))}")


def _rm(kind: str, command: _flags.CommandLine) -> None:
    registry = tracking.Registry.open()
    name = _named(command, kind)
    project = None if kind == "project" else command["project"]
    num_runs = registry.group_table.remove(
        kind, name, project, with_runs=command["with_runs"]
    )
    forgotten = "a run is" if num_runs == 1 else f"{num_runs} runs are"
    runs = f", and {forgotten} forgotten" if num_runs else ""
    print(f"The {kind} {name!r} was removed{runs}.")


def _command(verb: str, kind: str) -> Callable[..., int]:
    works = {"create": _create, "ls": _ls, "show": _show, "rm": _rm}

    def main(
        argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
    ) -> int:
        def work(command: _flags.CommandLine) -> None:
            works[verb](kind, command)

        return _flags.run(f"{kind} {verb}", work, argv, flag_values)

    return main


create_project = _command("create", "project")
ls_project = _command("ls", "project")
show_project = _command("show", "project")
rm_project = _command("rm", "project")
create_family = _command("create", "family")
ls_family = _command("ls", "family")
show_family = _command("show", "family")
rm_family = _command("rm", "family")
create_experiment = _command("create", "experiment")
ls_experiment = _command("ls", "experiment")
show_experiment = _command("show", "experiment")
rm_experiment = _command("rm", "experiment")
