"""`kauldron init`: makes a folder a workspace."""

from __future__ import annotations

import os
from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron.cli import _flags


def init(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron init [DIR]`: the current folder unless one is given."""

    def work(command: _flags.CommandLine) -> None:
        folder = command.positional[0] if command.positional else "."
        workspace = tracking.Workspace.create(folder)
        registry = tracking.Registry.open(folder)
        print(
            f"{os.fspath(workspace.root)} is a workspace; its registry is "
            f"{registry.place}. `kauldron runs index {folder}` enters the runs below it."
        )

    return _flags.run("init", work, argv, flag_values)
