"""`kauldron tune`, `tune ls` and `tune plot`: good values of a config, by trying."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from kauldron import launch
from kauldron._base import console
from kauldron.cli import _flags, command_runner
from kauldron.tracking import tune
from kauldron.workdir import measured

_EXAMPLE = "runs/tune"


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron tune`: runs the trials of a study that are missing.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 all trials are done, 1 one has failed, 2 a mistake in the command
      line or the config (nothing was started), 3 all are done, but something was lost in
      one, 75 stopped by a signal after the trials have saved.
    """
    overview: launch.Overview | None = None
    has_failed = False

    def work(command: _flags.CommandLine) -> None:
        nonlocal overview, has_failed
        study = tune.Study(
            cfg=command.cfg_file,
            workdir=command.required("workdir", _EXAMPLE),
            space=tune.parse_space(command["space"] or ()),
            num_trials=command["trials"],
            flags=[override.flag for override in command.overrides],
            **{name: command[name] for name in _FIELDS},
        )
        backend = launch.choose_backend(
            command["on"],
            study.base_config,
            devices_per_trial=command["devices_per_trial"],
        )
        with launch.show_live() as show:
            overview = launch.run_sweep(
                study,
                backend,
                parallel=command["parallel"],
                stop_on_failure=command["stop_on_failure"],
                tell=console.log,
                show=lambda _: _show(show, study.workdir),
            )
        result = tune.read_study(study.workdir)
        print(result)
        console.log(result.summary())
        has_failed = {trial.state for trial in result.trials} == {"failed"}
        if (best := study.write_best_config()) is not None:
            console.log(f"Its config: {best}")

    code = _flags.run("tune", work, argv, flag_values)
    if overview is None or code != command_runner.EXIT_DONE:
        return code
    if has_failed and overview.exit_code == command_runner.EXIT_DONE:
        return command_runner.EXIT_FAILED  # done, but nothing was measured
    return overview.exit_code


def _show(show: Callable[[tune.StudyOverview], None], workdir: str) -> None:
    """Shows how a study is doing; what it cannot measure is told when it ends."""
    with contextlib.suppress(measured.MetricError):
        show(tune.read_study(workdir))


_FIELDS = ("metric", "mode", "sampler", "pruner", "seed", "trust")


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron tune ls`: prints how the trials of a study are doing."""

    def work(command: _flags.CommandLine) -> None:
        overview = tune.read_study(command.required("workdir", _EXAMPLE))
        if command["json"]:
            print(json.dumps(overview.as_dict(), indent=2))
            return
        print(overview)
        print(overview.summary(), file=sys.stderr)

    return _flags.run("tune ls", work, argv, flag_values)


def plot(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron tune plot`: writes pictures of a study."""

    def work(command: _flags.CommandLine) -> None:
        workdir = command.required("workdir", _EXAMPLE)
        folder = command["out"] or os.path.join(workdir, "plots")
        study = tune.read_study(workdir)
        with command_runner.writing(folder):
            paths = tune.plot(study, folder)
        for path in paths:
            print(path)

    return _flags.run("tune plot", work, argv, flag_values)
