"""`kauldron ckpt <verb>`: looks at the checkpoints of a run; no config is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags, _run


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt ls WORKDIR`: the steps, when, how large, what was measured."""

    def work() -> None:
        from kauldron import checkpoints

        command = _flags.CommandLine(
            argv, flag_values, takes_workdir=True, max_positional=1
        )
        print(checkpoints.describe_steps(command.run))

    return _run.run(work, argv=argv)


def show(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt show WORKDIR [--step=N] [--paths=params,...]`: its arrays."""

    def work() -> None:
        from kauldron import checkpoints

        command = _flags.CommandLine(
            argv,
            flag_values,
            define=_define_selection,
            takes_workdir=True,
            max_positional=1,
        )
        workdir, step = _step_of(command)
        print(checkpoints.describe_arrays(workdir, step, paths=command["paths"]))

    return _run.run(work, argv=argv)


def diff(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt diff A B [--paths=...]`: which arrays differ; code 1 if any does."""
    differ = False

    def work() -> None:
        from kauldron import checkpoints

        nonlocal differ
        command = _flags.CommandLine(
            argv, flag_values, define=_define_paths, max_positional=2
        )
        if len(command.positional) != 2:
            raise _flags.UsageError(
                "Say which two: `kauldron ckpt diff runs/a runs/b`, or a step as "
                "runs/a/checkpoints/ckpt_10."
            )
        a, b = (checkpoints.split_step(path) for path in command.positional)
        lines = checkpoints.diff_arrays(a, b, paths=command["paths"])
        print("\n".join(lines) or "All arrays are the same.")
        differ = bool(lines)

    code = _run.run(work, argv=argv)
    return _run.EXIT_FAILED if code == _run.EXIT_DONE and differ else code


def verify(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt verify WORKDIR [--step=N]`: compares checksums; code 1 if one is bad."""
    any_bad = False

    def work() -> None:
        from kauldron import checkpoints

        nonlocal any_bad
        command = _flags.CommandLine(
            argv, flag_values, define=_define_step, takes_workdir=True, max_positional=1
        )
        workdir, step = _step_of(command)
        for n in checkpoints.list_steps(workdir) if step == -1 else [step]:
            damage = checkpoints.find_damage(workdir, n)
            any_bad |= bool(damage)
            if damage:
                print("\n  ".join([f"step {n}: DAMAGED", *damage]))
            elif damage is None:
                print(f"step {n}: unverified, it was saved without checksums")
            else:
                print(f"step {n}: ok")

    code = _run.run(work, argv=argv)
    return _run.EXIT_FAILED if code == _run.EXIT_DONE and any_bad else code


def export(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron ckpt export WORKDIR FILE [--step=N] [--paths=params]`: writes arrays."""

    def work() -> None:
        from kauldron import checkpoints

        command = _flags.CommandLine(
            argv,
            flag_values,
            define=_define_selection,
            takes_workdir=True,
            max_positional=2,
        )
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

    return _run.run(work, argv=argv)


def _step_of(command: _flags.CommandLine) -> tuple[Any, int]:
    from kauldron import checkpoints

    workdir, step = checkpoints.split_step(command.run)
    return workdir, command["step"] if step == -1 else step


def _define_step(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "step",
        -1,
        "Which step; -1 is the newest (for verify: all).",
        flag_values=flag_values,
        allow_override=True,
    )


def _define_paths(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "paths",
        [],
        "Globs of arrays, such as params,opt_state; all unless given.",
        flag_values=flag_values,
        allow_override=True,
    )


def _define_selection(flag_values: flags.FlagValues) -> None:
    _define_step(flag_values)
    _define_paths(flag_values)
