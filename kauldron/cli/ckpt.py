"""`kauldron ckpt <verb>`: inspects the checkpoints of a run; needs no config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags, command_runner


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt ls WORKDIR`: the steps, when, how large, what was measured."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import checkpoints

        print(checkpoints.describe_steps(command.run))

    return _flags.run("ckpt ls", work, argv, flag_values)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt show WORKDIR [--step=N] [--paths=params,...]`: its arrays."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import checkpoints

        workdir, step = _step_of(command)
        print(checkpoints.describe_arrays(workdir, step, paths=command["paths"]))

    return _flags.run("ckpt show", work, argv, flag_values)


def diff(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt diff A B [--paths=...]`: which arrays differ; code 1 if any does."""
    differ = False

    def work(command: _flags.CommandLine) -> None:
        from kauldron import checkpoints

        nonlocal differ
        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say which two: `kauldron ckpt diff runs/a runs/b`, or a step as "
                "runs/a/checkpoints/ckpt_10."
            )
        a, b = (checkpoints.split_step(path) for path in command.positional)
        lines = checkpoints.diff_arrays(a, b, paths=command["paths"])
        print("\n".join(lines) or "All arrays are the same.")
        differ = bool(lines)

    code = _flags.run("ckpt diff", work, argv, flag_values)
    return (
        command_runner.EXIT_FAILED
        if code == command_runner.EXIT_DONE and differ
        else code
    )


def verify(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt verify WORKDIR [--step=N]`: compares checksums; code 1 if one is bad."""
    any_bad = False

    def work(command: _flags.CommandLine) -> None:
        from kauldron import checkpoints

        nonlocal any_bad
        workdir, step = _step_of(command)
        steps = checkpoints.list_steps(workdir)
        if step != -1:
            steps = [step]
        elif command["step"] is not None:  # the latest
            steps = steps[-1:]
        for n in steps:
            damage = checkpoints.find_damage(workdir, n)
            any_bad |= bool(damage)
            if damage:
                print("\n  ".join([f"step {n}: DAMAGED", *damage]))
            elif damage is None:
                print(f"step {n}: unverified, it was saved without checksums")
            else:
                print(f"step {n}: ok")

    code = _flags.run("ckpt verify", work, argv, flag_values)
    return (
        command_runner.EXIT_FAILED
        if code == command_runner.EXIT_DONE and any_bad
        else code
    )


def export(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt export WORKDIR FILE [--step=N] [--paths=params]`: writes arrays."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import checkpoints

        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say what and where to: `kauldron ckpt export runs/a params.safetensors "
                "--paths=params`."
            )
        workdir, step = _step_of(command)
        files = checkpoints.export_arrays(
            workdir, command.positional[1], step, paths=command["paths"]
        )
        print("\n".join(map(str, files)))

    return _flags.run("ckpt export", work, argv, flag_values)


def _step_of(command: _flags.CommandLine) -> tuple[Any, int]:
    from kauldron import checkpoints

    workdir, step = checkpoints.split_step(command.run)
    if step == -1:
        step = checkpoints.resolve_step(workdir, command["step"])
    return workdir, step
