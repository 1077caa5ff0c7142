"""`kauldron run repro --workdir=runs/a`: reruns a run and compares the results."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import konfig
from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 the same parameters, 1 others, 2 a mistake in the command line.
    """

    def work(command: _flags.CommandLine) -> None:
        cfg, source = command.cfg, command["workdir"]
        if source is None:
            raise _flags.UsageError(_flags.NO_RUN)
        cfg.workdir = command["out"] or f"{source.rstrip('/')}_repro"
        trainer = command_runner.to_trainer(konfig.resolve(cfg))
        from kauldron.runs import reproduction

        if changes := reproduction.describe_changes(source):
            print("Not as it was when the run started:")
            print("\n".join(f"  {line}" for line in changes))
        result = reproduction.reproduce(trainer, source)
        print(f"Parameters at step {result.step}, SHA-256:")
        print(f"  {result.expected}  {source}")
        print(f"  {result.found}  {trainer.workdir}")
        if not result.is_same:
            raise command_runner.CommandFailed("The parameters differ.")
        print("The same, bit for bit.")

    return _flags.run("run repro", work, argv, flag_values)
