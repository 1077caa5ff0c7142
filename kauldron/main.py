"""The training binary: `python -m kauldron.main --cfg=config.py --cfg.workdir=DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kauldron.cli import train


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, or continues, the run of a config; returns the exit code."""
    return train.main(sys.argv if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
