"""`python -m kauldron.cli.worker`: trains what stdin asks for, see `launch.worker`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from kauldron.cli import train
from kauldron.launch import worker


def main() -> int:
    """Runs one task after the other; returns the exit code of the worker."""
    worker.serve(_train)
    return 0


def _train(args: Sequence[str]) -> int:
    # Flags of its own: those of the run before do not count.
    return train.main([sys.argv[0], *args], flag_values=flags.FlagValues())


if __name__ == "__main__":
    sys.exit(main())
