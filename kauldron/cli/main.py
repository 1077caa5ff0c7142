"""The `kauldron` command: `kauldron train ...`, otherwise `kauldron <noun> <verb> ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import kauldron
from kauldron._base import errors
from kauldron.cli import _commands, _help, _run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    argv = sys.argv if argv is None else argv
    words = list(argv[1:])
    if not words or words[0] in _help.WORDS:
        return _run.show(_help.overview())
    if words[0] == "--version":
        return _run.show(kauldron.__version__)
    if words[0] == "help":
        return _show_help(words[1:])
    for num_words in (1, 2):
        name = " ".join(words[:num_words])
        if name in _commands.COMMANDS:
            return _call(name, [f"{argv[0]} {name}", *words[num_words:]])
    if words[0] in _commands.GROUPS and _help.is_wanted(words[1:]):
        return _show_help(words[:1])
    return _complain(words)


def _call(name: str, argv: Sequence[str]) -> int:
    """Calls a command; nothing of it is imported if only its help is wanted."""
    if _help.is_wanted(argv[1:]):
        return _run.show(_help.of_command(_commands.COMMANDS[name]))
    module, _, function = _commands.COMMANDS[name].function.partition(":")
    command = getattr(importlib.import_module(f"kauldron.cli.{module}"), function)
    return command(argv)


def _show_help(words: Sequence[str]) -> int:
    """Prints the help of a command, of a group, or of the program."""
    name = " ".join(word for word in words if not word.startswith("-"))
    if not name:
        return _run.show(_help.overview())
    if name in _commands.COMMANDS:
        return _run.show(_help.of_command(_commands.COMMANDS[name]))
    if name in _commands.GROUPS:
        return _run.show(_help.of_group(name))
    return _complain(words)


def _complain(words: Sequence[str]) -> int:
    if words[0].startswith("-"):
        problem = (
            f"{words[0]!r} stands before the command. Write the command first: "
            "`kauldron train --cfg=config.py`."
        )
        usage = _help.overview()
    elif words[0] in _commands.GROUPS:
        group = words[0]
        verbs = [c.name for c in _commands.GROUPS[group]]
        given = " ".join(word for word in words[:2] if not word.startswith("-"))
        problem = (
            f"no command {given!r}.{errors.did_you_mean(given, verbs)}"
            if given != group
            else f"`kauldron {group}` needs a second word: say what to do."
        )
        usage = _help.of_group(group)
    else:
        given = " ".join(word for word in words[:2] if not word.startswith("-"))
        hint = _commands.suggest(given) or _commands.suggest(words[0])
        problem, usage = f"no command {given!r}.{hint}", _help.overview()
    print(f"Error: {problem}\n\n{usage}", file=sys.stderr)
    return _run.EXIT_MISTAKE


if __name__ == "__main__":
    sys.exit(main())
