"""`kauldron eval --workdir=runs/digits`: evaluates a checkpoint of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from kauldron import konfig
from kauldron._base import collector, text_tables
from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    The config is that of the workdir, unless `--cfg` names another; `--cfg.x=y` changes
    it. The run itself is not touched: results go to `workdir/evaluations/`.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 done, 1 an evaluator failed, 2 a mistake in the command line or
      the config, 3 done, but a metric or summary has failed.
    """

    def evaluate(command: _flags.CommandLine) -> None:
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        trainer.check()
        from kauldron import runs

        step, outputs = runs.evaluate_checkpoint(
            trainer,
            command["eval_names"],
            step=command["step"],
            out=command["out"],
            writes=command["write"],
        )
        print(f"{trainer.workdir} at step {step}")
        print(_table(outputs))

    with collector.postponed():
        return _flags.run("eval", evaluate, argv, flag_values)


def _table(outputs: Mapping[str, Any]) -> str:
    """Returns a line per value, in columns."""
    import numpy as np

    rows = [("evaluator", "name", "value")]
    for evaluator, values in outputs.items():
        for name, value in {**values.loss_values, **values.metric_values}.items():
            array = np.asarray(value)
            is_table = array.size != 1
            shown = f"table {array.shape}" if is_table else f"{array.item():.6g}"
            rows.append((evaluator, name, shown))
    return text_tables.aligned(rows)
