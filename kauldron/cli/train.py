"""`kauldron train --cfg=config.py`: trains, or continues, the run of a config."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import errors, konfig
from kauldron.cli import _run


class UsageError(errors.UserError):
    """A command was called in a way that cannot be understood."""


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Runs the command.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code: 0 done, 1 failed, 2 a mistake in the command line or the config
      (nothing was started), 75 stopped by a signal after saving.
    """
    flag_values = flags.FLAGS if flag_values is None else flag_values
    return _run.run(lambda: _train(argv, flag_values), argv=argv)


def _train(argv: Sequence[str], flag_values: flags.FlagValues) -> None:
    _run.make_cwd_importable()
    cfg_flag = _define_flags(flag_values)
    if any(arg.lstrip("-").startswith("jax_") for arg in argv[1:]):
        import jax

        jax.config.config_with_absl()
    positional = flag_values(list(argv))[1:]
    if positional:
        raise UsageError(
            f"Unexpected argument {positional[0]!r}. Values are given as "
            "`--cfg.name=value`, without spaces around '='."
        )
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's worker processes read absl's flags
    cfg = cfg_flag.value
    if cfg is None:
        raise UsageError(
            "No config: say which one to train, for instance "
            "`--cfg=examples/digits_classifier.py --cfg.workdir=runs/digits`."
        )
    trainer = konfig.resolve(cfg)
    if not hasattr(trainer, "train"):
        raise UsageError(
            f"The config builds a {type(trainer).__name__}; a run needs "
            "`cfg = kd.train.Trainer(...)`."
        )
    trainer.train()


def _define_flags(flag_values: flags.FlagValues) -> flags.FlagHolder:
    flags.DEFINE_bool(
        "debug",
        False,
        "Show the traceback of mistakes, too.",
        flag_values=flag_values,
        allow_override=True,
    )
    return konfig.DEFINE_config_file(
        "cfg", help_string="Config file; --cfg.x=y changes it.", flag_values=flag_values
    )
