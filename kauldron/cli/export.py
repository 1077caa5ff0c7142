"""`kauldron export --workdir=run --out=folder`: a model as files without its source."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import konfig, kontext
from kauldron._base import collector
from kauldron.cli import _flags, command_runner


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 done, 1 failed, 2 a mistake, such as a folder that is taken or a
      model that cannot be exported (nothing was written).
    """

    def export(command: _flags.CommandLine) -> None:
        from kauldron import runs

        cfg = command.cfg
        if command["out"] is None:
            raise _flags.UsageError(
                "Say where the model goes, for instance `--out=digits_export`."
            )
        predictor = runs.Predictor.from_trainer(
            command_runner.to_trainer(konfig.resolve(cfg)),
            step=command["step"],
            eval_name=command["eval_name"],
        )
        ds_path = command["ds_path"]
        written = predictor.export(
            command["out"],
            ds=kontext.get_by_path(predictor.trainer, ds_path) if ds_path else None,
            ema=command["ema"],
            format=command["format"],
            platforms=command["platforms"],
            batch_size=command["batch_size"],
            quantize=command["quantize"],
            overwrite=command["overwrite"],
        )
        print(written.describe())

    with collector.postponed():
        return _flags.run("export", export, argv, flag_values)
