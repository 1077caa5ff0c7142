"""`kauldron predict --workdir=run --out=preds.npz`: applies a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
      The exit code: 0 done, 1 failed, 2 a mistake in the command line, such as a workdir
      that is invalid or a key that does not exist (nothing was written).
    """

    def predict(command: _flags.CommandLine) -> None:
        from kauldron import runs

        cfg = command.cfg
        out = command["out"]
        if out is None:
            raise _flags.UsageError(
                "Say where predictions go, for instance `--out=preds.npz`."
            )
        if runs.is_folder(out):
            _write_folder(out, command)
            return
        runs.check_suffix(out)
        predictor = runs.Predictor.from_trainer(
            command_runner.to_trainer(konfig.resolve(cfg)),
            step=command["step"],
            eval_name=command["eval_name"],
        )
        ds = _dataset(predictor, command)
        keys = command["keys"] or runs.default_keys(command["inputs"])
        written = predictor.write(out, ds, keys=keys)
        print(f"{out}: step {predictor.step}")
        for name, values in written.items():
            print(f"  {name}: {kontext.format_spec(values)}")

    with collector.postponed():
        return _flags.run("predict", predict, argv, flag_values)


def _write_folder(out: str, command: _flags.CommandLine) -> None:
    from kauldron import runs

    if command["keys"]:
        raise _flags.UsageError(
            "`--keys` is for '.npz' and '.parquet' files: what is written to the folder "
            f"{out!r} is said by the evaluator."
        )
    if command["inputs"]:
        raise _flags.UsageError(
            "`--inputs` is for '.npz' and '.parquet' files: what is predicted to the "
            f"folder {out!r} is the dataset of the evaluator. Other cases are those of "
            "`--cfg.eval_ds.path=FOLDER`."
        )
    trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
    ds_path = command["ds_path"]
    for file in runs.write_folder(
        trainer,
        out,
        step=command["step"],
        eval_name=command["eval_name"],
        ds=kontext.get_by_path(trainer, ds_path) if ds_path else None,
    ):
        print(file)


def _dataset(predictor: Any, command: _flags.CommandLine) -> Any:
    ds_path = command["ds_path"]
    ds = kontext.get_by_path(predictor.trainer, ds_path) if ds_path else None
    if not command["inputs"]:
        return ds
    return predictor.open(command["inputs"], like=ds)
