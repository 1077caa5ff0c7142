"""The training binary: `python -m kauldron.main --cfg=config.py --cfg.workdir=DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kauldron.cli import command_runner, command_table, help_text


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, or continues, the run of a config; returns the exit code."""
    argv = sys.argv if argv is None else argv
    if help_text.is_wanted(argv[1:]):
        return command_runner.show(
            help_text.of_command(command_table.COMMANDS["train"])
        )
    from kauldron.cli import train

    return train.main(argv)


if __name__ == "__main__":
    sys.exit(main())
