"""`kauldron completion bash|zsh|fish`: what the Tab key adds to a command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from absl import flags

from kauldron._base import errors
from kauldron.cli import _flags, command_kinds, command_table

_BASH = """\
_kauldron() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" words
  case "${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}" in
{cases}
  esac
  case "$cur" in -*) [ -n "$words" ] || words="{all_flags}" ;; esac
  if [ "$COMP_CWORD" -eq 1 ]; then words="{first}"
  elif [ "$COMP_CWORD" -eq 2 ]; then
    case "${{COMP_WORDS[1]}}" in
{verbs}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  case "${{COMPREPLY[0]}}" in *=) compopt -o nospace 2>/dev/null ;; esac
}}
complete -o default -F _kauldron kauldron
"""
_ZSH = (
    "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
)


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Prints the script that completes commands and flags in a shell."""

    def work(command: _flags.CommandLine) -> None:
        shell = command.positional[0] if command.positional else ""
        if shell not in SCRIPTS:
            hint = errors.did_you_mean(shell, SCRIPTS)
            raise _flags.UsageError(
                f"Say which shell: {', '.join(SCRIPTS)}; got {shell!r}.{hint} For bash: "
                "`source <(kauldron completion bash)`."
            )
        print(SCRIPTS[shell](command_table.COMMANDS), end="")

    return _flags.run("completion", work, argv, flag_values)


def bash(commands: Mapping[str, command_kinds.Command]) -> str:
    """Returns the script for bash."""
    groups = _groups(commands)
    cases = [
        f'    {_pattern(name)}) words="{" ".join(_flag_words(command))}" ;;'
        # `sweep ls` goes before `sweep`.
        for name, command in sorted(commands.items(), key=lambda x: -len(x[0].split()))
    ]
    verbs = [
        f'      {group}) [[ "$cur" == -* ]] || words="{" ".join(of)}" ;;'
        for group, of in groups.items()
    ]
    first = dict.fromkeys(name.split()[0] for name in commands)
    return _BASH.format(
        cases="\n".join(cases),
        verbs="\n".join(verbs),
        first=" ".join(first),
        all_flags="--help",
    )


def zsh(commands: Mapping[str, command_kinds.Command]) -> str:
    """Returns the script for zsh, which reads that of bash."""
    return _ZSH + bash(commands)


def fish(commands: Mapping[str, command_kinds.Command]) -> str:
    """Returns the script for fish."""
    groups = _groups(commands)
    lines = []
    for word in dict.fromkeys(name.split()[0] for name in commands):
        told = commands[word].summary if word in commands else ", ".join(groups[word])
        lines.append(_fish("__fish_use_subcommand", f"-f -a {word}", told))
    for name, command in commands.items():
        words = name.split()
        seen = " ".join(words)
        condition = f"string match -qr '^kauldron {seen}( |$)' -- (commandline -cp)"
        if len(words) == 2:
            first = (
                f"string match -qr '^kauldron {words[0]} [^ ]*$' -- (commandline -cp)"
            )
            lines.append(_fish(first, f"-f -a {words[1]}", command.summary))
        for flag in _all_flags(command):
            given = "" if flag.kind is bool else " -r"
            lines.append(_fish(condition, f"-l {flag.name}{given}", flag.help))
    return "\n".join([*lines, ""])


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}


def _fish(condition: str, what: str, told: str) -> str:
    return f"complete -c kauldron -n {shlex.quote(condition)} {what} -d {shlex.quote(told)}"


def _groups(commands: Mapping[str, command_kinds.Command]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in commands:
        first, _, verb = name.partition(" ")
        if verb:
            groups.setdefault(first, []).append(verb)
    return groups


def _pattern(name: str) -> str:
    return f'"{name}"' if " " in name else f'"{name} "*'


def _flag_words(command: command_kinds.Command) -> list[str]:
    words = [
        f"--{flag.name}{'' if flag.kind is bool else '='}"
        for flag in _all_flags(command)
    ]
    return [*words, "--help"]


def _all_flags(command: command_kinds.Command) -> list[command_kinds.Flag]:
    cfg = command_kinds.Flag("cfg", str, None, "Config file, config.json, or workdir.")
    return [
        *([cfg] if command.takes_cfg else []),
        *command.flags,
        *command.shared_flags,
    ]
