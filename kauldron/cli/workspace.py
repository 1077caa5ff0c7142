"""`kauldron init`: makes a folder a workspace."""

from __future__ import annotations

import os
from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron._base import console
from kauldron.cli import _flags
from kauldron.tracking.registry import workspaces


def init(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron init [DIR]`: the current folder unless one is given."""

    def work(command: _flags.CommandLine) -> None:
        folder = command.positional[0] if command.positional else "."
        was_one = workspaces.is_workspace(folder)
        above = workspaces.upwards(os.path.dirname(os.path.abspath(folder)))
        workspace = tracking.Workspace.create(folder)
        registry = tracking.Registry.open(folder)
        if above is not None and not was_one:
            console.warn(
                f"It is below another workspace, {os.fspath(above.root)}: commands in "
                f"{os.fspath(workspace.root)} no longer see the runs of that one."
            )
        state = "was a workspace already" if was_one else "is a workspace"
        print(
            f"{os.fspath(workspace.root)} {state}; its registry is "
            f"{registry.place}. `kauldron runs index {folder}` enters the runs below it."
        )

    return _flags.run("init", work, argv, flag_values)
