"""`kauldron train --cfg=config.py`: trains, or continues, the run of a config."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import konfig
from kauldron.cli import _flags, _run


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 done, 1 failed, 2 a mistake in the command line or the config
      (nothing was started), 75 stopped by a signal after saving.
    """

    def train() -> None:
        command = _flags.CommandLine(argv, flag_values)
        _run.to_trainer(konfig.resolve(command.cfg)).train()

    return _run.run(train, argv=argv)
