"""A process that enters runs and changes them, until it is killed."""

from __future__ import annotations

import pathlib
import sys

from kauldron import kd
from tests.tracking.registry import made_runs


def main(place: str, folder: str, first: int, count: int) -> None:
    """Enters runs, and says each when it is in the registry."""
    registry = kd.tracking.Registry.open(place)
    for i in range(first, first + count):
        workdir = pathlib.Path(folder) / f"run{i}"
        made_runs.make(workdir, config={"number": i}, curve=[i / 100])
        run = registry.register(workdir, project=f"project{i % 3}", tags=["new"])
        registry.change(run, add_tags=[f"tag{i}"])
        print(i, run.id, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
