"""`kauldron sweep` and `kauldron sweep ls`: many runs of one config."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from absl import flags

from kauldron import launch
from kauldron._base import console
from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron sweep`: trains the runs that are missing, a few at a time.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 all runs are done, 1 one has failed, 2 a mistake in the command
      line or a config (nothing was started), 3 all are done, but something was lost in
      one, 75 stopped by a signal after the runs have saved.
    """
    overview: launch.Overview | None = None

    def work(command: _flags.CommandLine) -> None:
        nonlocal overview
        sweep = launch.SweepRequest(
            cfg=command.cfg_file,
            overrides=command.overrides,
            **{
                name: command[name]
                for name in ("workdir", "sweep", "trials", "num_samples", "sample_seed")
            },
            trust=command["trust"],
        ).to_sweep()
        if command["dry_run"]:
            lines = launch.describe_plan(sweep)
            print("\n".join(lines))
            console.log(f"{len(lines)} trials; nothing was started.")
            return
        backend = launch.choose_backend(
            command["on"],
            sweep.base_config,
            parallel=command["parallel"],
            devices_per_trial=command["devices_per_trial"],
        )
        metric, mode = launch.chosen_metric(
            sweep.base_config, command["metric"], command["mode"]
        )
        with launch.show_live() as show:
            result = launch.run_sweep(
                sweep,
                backend,
                stop_on_failure=command["stop_on_failure"],
                metric=metric,
                mode=mode,
                tell=console.log,
                show=show,
            )
        print(result)
        console.log(result.summary())
        overview = result

    code = _flags.run("sweep", work, argv, flag_values)
    return overview.exit_code if overview and code == command_runner.EXIT_DONE else code


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron sweep ls`: prints how the runs of a sweep are doing."""

    def work(command: _flags.CommandLine) -> None:
        if command["workdir"] is None:
            raise _flags.UsageError(
                "No sweep: say which one, for instance `--workdir=runs/sweep`."
            )
        overview = launch.read_sweep(
            command["workdir"], metric=command["metric"], mode=command["mode"]
        )
        if command["json"]:
            print(json.dumps(overview.as_dict(), indent=2))
            return
        print(overview)
        print(overview.summary(), file=sys.stderr)

    return _flags.run("sweep ls", work, argv, flag_values)
