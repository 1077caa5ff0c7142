"""`--help` texts of the program, of command groups, and of single commands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from kauldron._base import text_tables
from kauldron.cli import command_kinds, command_table

WORDS = ("-h", "--help", "-help", "--helpfull", "--helpshort")


def is_wanted(args: Sequence[str]) -> bool:
    """Returns whether the arguments of a command ask for help."""
    before = list(args)[: list(args).index("--")] if "--" in args else args
    return any(arg in WORDS for arg in before)


def overview() -> str:
    """Returns the list of commands."""
    return "\n".join(
        [
            "Usage: kauldron <command> --cfg=config.py [--cfg.name=value ...]",
            "",
            *_list(c for c in command_table.COMMANDS.values() if " " not in c.name),
            "",
            *_list_groups(),
            "",
            "`kauldron <command> --help` lists the flags of a command, `kauldron <word> "
            "--help` the commands of a word.",
            f"Example: {command_table.COMMANDS['train'].example}",
        ]
    )


def of_group(group: str) -> str:
    """Returns the list of the commands that begin with a word."""
    return "\n".join(
        [
            f"Usage: kauldron {group} <command> [flags]",
            "",
            *_list(command_table.GROUPS[group]),
            "",
            f"`kauldron {group} <command> --help` lists the flags of a command.",
        ]
    )


def of_command(command: command_kinds.Command) -> str:
    """Returns what a command does, its flags, and an example."""
    summary = command.summary[0].upper() + command.summary[1:]
    return "\n".join(
        [
            f"{summary}.",
            "",
            f"Usage: {_usage(command)}",
            "",
            "Flags (name, type, default, what it is):",
            *_table(_rows(command)),
            "",
            f"Example: {command.example}",
        ]
    )


def _list_groups() -> list[str]:
    """Returns a paragraph for each word that commands begin with."""
    width = max(map(len, command_table.GROUPS))
    lines = []
    for group, commands in command_table.GROUPS.items():
        verbs = ", ".join(c.name.partition(" ")[2] for c in commands)
        indent = " " * (13 + width)
        lines += textwrap.wrap(
            verbs,
            width=88,
            initial_indent=f"  kauldron {group:<{width}}  ",
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
    return lines


def _list(of: Iterable[command_kinds.Command]) -> list[str]:
    commands = list(of)
    width = max(len(c.name) for c in commands)
    return [f"  kauldron {c.name:<{width}}  {c.summary}" for c in commands]


def _usage(command: command_kinds.Command) -> str:
    words = ["kauldron", command.name, *command.positional]
    if command.takes_workdir and not command.positional:
        words.append("--workdir=DIR")
    elif command.takes_cfg and not command.positional:
        words.append("--cfg=config.py")
    if command.takes_cfg:
        words.append("[--cfg.name=value ...]")
    return " ".join([*words, "[flags]"])


def _rows(command: command_kinds.Command) -> list[tuple[str, str, str, str]]:
    """Returns name, type, default and help of every flag."""
    rows = []
    if command.takes_cfg:
        default = "none" if command.takes_workdir else "required"
        if command.positional:
            default = "none"
        rows += [
            ("--cfg", "file", default, "Config file, config.json, or workdir."),
            (
                "--cfg.NAME",
                "any",
                "as in the file",
                "Sets a field of the config, such as --cfg.optimizer.learning_rate.",
            ),
        ]
    rows += [_row(f) for f in command.flags]
    if command.takes_patches:
        rows.append(
            (
                "--patch",
                "bool",
                "false",
                "Shrinks the config for a trial run, by these:",
            )
        )
        rows += [_row(f, prefix="patch.") for f in command_kinds.PATCHES]
    rows += [_row(f) for f in command.shared_flags]
    rows.append(("--help, -h", "bool", "false", "Prints this."))
    return rows


def _row(flag: command_kinds.Flag, prefix: str = "") -> tuple[str, str, str, str]:
    name = f"--{prefix}{flag.name}"
    return name, type_name(flag.kind), _default(flag), flag.help


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"  {line}" for line in text_tables.aligned(rows).splitlines()]


def type_name(kind: type) -> str:
    """Returns how a type of flag is called."""
    return {str: "text", tuple: "text", list: "a,b,..."}.get(kind, kind.__name__)


def _default(flag: command_kinds.Flag) -> str:
    if flag.shown_default:
        return flag.shown_default
    value: Any = flag.default
    if value is None or value == []:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
