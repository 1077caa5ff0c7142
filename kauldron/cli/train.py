"""`kauldron train --cfg=config.py`: starts or resumes the run of a config."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import konfig
from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    With `--eval_names=a,b` it does not train, but runs these evaluators alongside a
    training run of the same config, see `kd.evals.continuous_eval`.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 done, 1 failed, 2 a mistake in the command line or the config
      (nothing was started), 3 done, but something was lost or the loss is not
      finite, 75 stopped by a signal after saving.
    """

    def train(command: _flags.CommandLine) -> None:
        names, timeout_secs = command["eval_names"], command["eval_timeout"]
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        setup = getattr(trainer, "setup", None)
        if names is None and not getattr(setup, "eval_only", False):
            if timeout_secs is not None:
                raise _flags.UsageError("--eval_timeout is for --eval_names=...")
            trainer.train()
            return
        from kauldron.evals import standalone

        try:
            names = list(trainer.evals) if names is None else names
            trainer.continuous_eval(names, timeout_secs=timeout_secs)
        except standalone.NoTrainingError as e:
            raise command_runner.CommandFailed(str(e)) from e

    return _flags.run("train", train, argv, flag_values)
