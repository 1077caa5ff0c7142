"""The `kauldron` command: `kauldron train ...`, or `kauldron <noun> <verb> ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import kauldron
from kauldron._base import errors
from kauldron.cli import command_runner, command_table, help_text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    argv = sys.argv if argv is None else argv
    words = list(argv[1:])
    if not words or words[0] in help_text.WORDS:
        return command_runner.show(help_text.overview())
    if words[0] == "--version":
        return command_runner.show(kauldron.__version__)
    if words[0] == "help":
        return _show_help(words[1:])
    for num_words in (2, 1):  # `sweep ls` goes before `sweep`
        name = " ".join(words[:num_words])
        if name in command_table.COMMANDS:
            return _call(name, [f"{argv[0]} {name}", *words[num_words:]])
    if words[0] in command_table.GROUPS and help_text.is_wanted(words[1:]):
        return _show_help(words[:1])
    return _complain(words)


def _call(name: str, argv: Sequence[str]) -> int:
    """Calls a command; nothing of it is imported if only its help is wanted."""
    if help_text.is_wanted(argv[1:]):
        return command_runner.show(help_text.of_command(command_table.COMMANDS[name]))
    module, _, function = command_table.COMMANDS[name].function.partition(":")
    command = getattr(importlib.import_module(f"kauldron.cli.{module}"), function)
    return command(argv)


def _show_help(words: Sequence[str]) -> int:
    """Prints the help of a command, of a group, or of the program."""
    name = " ".join(word for word in words if not word.startswith("-"))
    if not name:
        return command_runner.show(help_text.overview())
    if name in command_table.COMMANDS:
        return command_runner.show(help_text.of_command(command_table.COMMANDS[name]))
    if name in command_table.GROUPS:
        return command_runner.show(help_text.of_group(name))
    return _complain(words)


def _complain(words: Sequence[str]) -> int:
    if words[0].startswith("-"):
        problem = (
            f"{words[0]!r} stands before the command. Write the command first: "
            "`kauldron train --cfg=config.py`."
        )
        usage = help_text.overview()
    elif words[0] in command_table.GROUPS:
        group = words[0]
        verbs = [c.name for c in command_table.GROUPS[group]]
        given = " ".join(word for word in words[:2] if not word.startswith("-"))
        problem = (
            f"no command {given!r}.{errors.did_you_mean(given, verbs)}"
            if given != group
            else f"`kauldron {group}` needs a second word: say what to do."
        )
        usage = help_text.of_group(group)
    else:
        given = " ".join(word for word in words[:2] if not word.startswith("-"))
        hint = command_table.suggest(given) or command_table.suggest(words[0])
        problem, usage = f"no command {given!r}.{hint}", help_text.overview()
    print(f"Error: {problem}\n\n{usage}", file=sys.stderr)
    return command_runner.EXIT_MISTAKE


if __name__ == "__main__":
    sys.exit(main())
