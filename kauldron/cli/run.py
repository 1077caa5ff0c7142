"""`kauldron run <verb>`: looks at a run without starting it."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from kauldron import konfig, kontext
from kauldron.cli import _flags, _run


def check(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run check`: finds keys and shapes that don't fit; compiles nothing."""

    def work() -> None:
        command = _flags.CommandLine(argv, flag_values)
        _run.to_trainer(konfig.resolve(command.cfg)).check()
        print("Every key exists, and every shape fits.")

    return _run.run(work, argv=argv)


def eval_shape(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron run eval_shape`: prints every key of a step, with dtype and shape."""

    def work() -> None:
        command = _flags.CommandLine(argv, flag_values)
        trainer = _run.to_trainer(konfig.resolve(command.cfg))
        trainer.check()
        print(command.origin)
        for path, spec in trainer.context_specs.flatten().items():
            print(f"{path}: {kontext.format_spec(spec)}")

    return _run.run(work, argv=argv)
