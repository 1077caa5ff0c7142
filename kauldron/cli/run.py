"""`kauldron run <verb>`: inspects a run without continuing it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from absl import flags

from kauldron import konfig, kontext
from kauldron.cli import _flags, command_runner


def check(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run check`: finds keys and shapes that don't fit; compiles nothing."""

    def work(command: _flags.CommandLine) -> None:
        command_runner.to_trainer(konfig.resolve(command.cfg)).check()
        print("Every key exists, and every shape fits.")

    return _flags.run("run check", work, argv, flag_values)


def eval_shape(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron run eval_shape`: prints every key of a step, with dtype and shape."""

    def work(command: _flags.CommandLine) -> None:
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        trainer.check()
        print(command.origin.summary())
        for path, spec in trainer.context_specs.flatten().items():
            print(f"{path}: {kontext.format_spec(spec)}")

    return _flags.run("run eval_shape", work, argv, flag_values)


def graph(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run graph --out=graph.svg`: draws the model; `--out=-` prints the SVG."""

    def work(command: _flags.CommandLine) -> None:
        out = command["out"]
        if not out:
            raise _flags.UsageError(
                "Say where to: `kauldron run graph --cfg=... --out=graph.svg`."
            )
        from kauldron import inspect

        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        picture = inspect.draw_model_of(trainer)
        if out == "-":
            print(picture.svg, end="")
        else:
            print(f"The model is drawn in {picture.save(out)}.")

    return _flags.run("run graph", work, argv, flag_values)


def sharding(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron run sharding`: what each device holds of the state, in bytes."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import inspect

        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        table = inspect.sharding_table(trainer.state_specs)
        print(json.dumps(table.as_dict(), indent=2) if command["json"] else table)

    return _flags.run("run sharding", work, argv, flag_values)


def replay(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run replay`: repeats a step that a `NanGuard` has saved.

    `--workdir=DIR` takes the config from there; `--step=N` chooses a step, the last one
    saved unless given.
    """

    def work(command: _flags.CommandLine) -> None:
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        from kauldron.runs import replay as replay_lib

        result = replay_lib.replay(trainer, command["step"])
        print(f"Step {result.step}, values that are not finite, in the order made:")
        for nonfinite in result.found:
            print(f"  {nonfinite}")
        if not result.found:
            print("  none")
        if result.origin:
            print(f"The first operation: {result.origin}")

    return _flags.run("run replay", work, argv, flag_values)
