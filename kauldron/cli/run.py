"""`kauldron run <verb>`: inspects a run without continuing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import konfig, kontext
from kauldron.cli import _flags, command_runner


def check(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run check`: finds keys and shapes that don't fit; compiles nothing.

    What a run starts from (`cfg.init_transform`) is read for it, unless the workdir has
    a checkpoint to continue with.
    """

    def work(command: _flags.CommandLine) -> None:
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        trainer.check()
        if trainer.workdir is None or trainer.checkpointer.latest_step is None:
            trainer.trainstep.init_transform.check(trainer.state_specs)
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
    """`kauldron run sharding`: what each device holds, and what a step costs."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import inspect

        report = inspect.sharding_report(
            _run_on(command),
            num_devices=command["devices"],
            link_gb_per_s=command["link_gb_per_s"],
            compiles=command["compile"],
        )
        if command["out"]:
            path = report.picture().save(command["out"])
            print(f"Which device holds what is drawn in {path}.", file=sys.stderr)
        print(json.dumps(report.as_dict(), indent=2) if command["json"] else report)

    return _flags.run("run sharding", work, argv, flag_values)


def estimate_memory(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron run estimate_memory`: the memory of a step on each device."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import inspect

        memory = inspect.estimate_memory(
            _run_on(command),
            num_devices=command["devices"],
            device_gb=command["device_gb"],
            compiles=command["compile"],
        )
        print(json.dumps(memory.as_dict(), indent=2) if command["json"] else memory)

    return _flags.run("run estimate_memory", work, argv, flag_values)


def _run_on(command: _flags.CommandLine) -> Any:
    """Returns the run; as a config if it is for devices that are not here."""
    if command["devices"] is not None:
        return command.cfg
    return command_runner.to_trainer(konfig.resolve(command.cfg))


def replay(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run replay`: repeats a step that a `NanGuard` has saved.

    `--workdir=DIR` takes the config from there; `--step=N` chooses a step, the last one
    saved unless given.
    """

    def work(command: _flags.CommandLine) -> None:
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        from kauldron.runs import replay as replay_lib

        print(replay_lib.replay(trainer, command["step"]))

    return _flags.run("run replay", work, argv, flag_values)
