"""`kauldron runs deliver`: what trackers have missed of runs that are over."""

from __future__ import annotations

import os
from collections.abc import Sequence

from absl import flags

from kauldron import tracking
from kauldron._base import console, errors
from kauldron.cli import _flags, command_runner


def deliver(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron runs deliver RUN... [--where=...]`: code 1 if a tracker is still gone."""

    def work(command: _flags.CommandLine) -> None:
        num_failed = 0
        for name, workdir in _chosen(command):
            try:
                delivered = tracking.deliver(workdir, trusted=command["trust"])
            except errors.UserError as e:
                if command["where"] is None:
                    raise
                console.warn(f"{name} is left out: {e}")
            except OSError as e:
                num_failed += 1
                console.warn(f"{name}: {e}")
            else:
                to = " and ".join(map(repr, delivered))
                print(
                    f"{name}: {f'delivered to {to}' if to else 'nothing was missed'}."
                )
        if num_failed:
            runs = "A run is" if num_failed == 1 else f"{num_failed} runs are"
            raise command_runner.CommandFailed(
                f"{runs} not delivered: do it again when the tracker is back."
            )

    return _flags.run("runs deliver", work, argv, flag_values)


def _chosen(command: _flags.CommandLine) -> list[tuple[str, str]]:
    """Returns names and workdirs; a workdir needs no workspace."""
    if command["where"] is not None:
        if command.positional:
            raise _flags.UsageError("Name runs, or give `--where`: not both.")
        runs = tracking.Registry.open().runs(command["where"], archived=True)
        return [(f"{run.id} {run.name}", run.workdir) for run in runs]
    if not command.positional:
        raise _flags.UsageError("Say which run: its id, its name, or its workdir.")
    chosen = []
    for name in command.positional:
        if os.path.isdir(name):
            chosen.append((name, name))
        else:
            run = tracking.Registry.open().run(name)
            chosen.append((f"{run.id} {run.name}", run.workdir))
    return chosen
