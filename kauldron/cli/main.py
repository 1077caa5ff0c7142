"""The `kauldron` command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from kauldron import errors
from kauldron.cli import _run

# Command -> (module with `main(argv) -> exit code`, what it does).
_COMMANDS = {
    "train": ("kauldron.cli.train", "train, or continue, the run of a config"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `kauldron <command> ...`; returns the exit code."""
    argv = sys.argv if argv is None else argv
    command = argv[1] if len(argv) > 1 else None
    if command in (None, "-h", "--help", "help"):
        print(_usage())
        return _run.EXIT_DONE if command else _run.EXIT_MISTAKE
    if command not in _COMMANDS:
        hint = errors.did_you_mean(command, _COMMANDS)
        print(f"Error: no command {command!r}.{hint}\n\n{_usage()}", file=sys.stderr)
        return _run.EXIT_MISTAKE
    module = importlib.import_module(_COMMANDS[command][0])
    return module.main([f"{argv[0]} {command}", *argv[2:]])


def _usage() -> str:
    lines = [f"  kauldron {name:<10} {what}" for name, (_, what) in _COMMANDS.items()]
    return "\n".join(
        [
            "Usage: kauldron <command> --cfg=config.py [--cfg.name=value ...]",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
