"""`kauldron train --cfg=config.py`: starts or resumes the run of a config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import konfig
from kauldron._base import collector, processes
from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    With `--eval_names=a,b` it does not train, but runs these evaluators alongside a
    training run of the same config, see `kd.evals.continuous_eval`. With
    `--distributed`, it is one of several processes of the run.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 done, 1 failed, 2 a mistake in the command line or the config
      (nothing was started), 3 done, but something was lost or the loss is not
      finite, 75 stopped by a signal after saving.
    """

    with collector.postponed():
        code = _flags.run("train", _train, argv, flag_values)
    processes.leave_if_failed(
        code, (command_runner.EXIT_FAILED, command_runner.EXIT_MISTAKE)
    )
    return code


def _train(command: _flags.CommandLine) -> None:
    """Trains in this process alone, or together with others."""
    requested = processes.requested(command[processes.FLAG])
    if requested is None:
        _run(command)
        return
    workdir = command.cfg.get("workdir")
    from kauldron import sharding

    with sharding.joined_processes(
        requested,
        timeout_secs=command["distributed_timeout"],
        workdir=workdir if isinstance(workdir, str | os.PathLike) else None,
    ):
        _run(command)


def _followed(trainer: Any) -> Any:
    """Returns a trainer that the workspace follows which it is started in, if any."""
    from kauldron.tracking.registry import workspaces

    if workspaces.Workspace.find() is None:
        return trainer
    from kauldron.tracking.trackers import workspace_runs

    return workspace_runs.followed(trainer)


def _run(command: _flags.CommandLine) -> None:
    names, timeout_secs = command["eval_names"], command["eval_timeout"]
    trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
    setup = getattr(trainer, "setup", None)
    if names is None and not getattr(setup, "eval_only", False):
        if timeout_secs is not None:
            raise _flags.UsageError("--eval_timeout is for --eval_names=...")
        _followed(trainer).train()
        return
    from kauldron.evals import standalone

    try:
        names = list(trainer.evals) if names is None else names
        trainer.continuous_eval(names, timeout_secs=timeout_secs)
    except standalone.NoTrainingError as e:
        raise command_runner.CommandFailed(str(e)) from e
