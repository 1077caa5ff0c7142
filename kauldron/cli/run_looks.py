"""`kauldron run params|flops|explain_key|profile`: looks at a run before it begins."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from kauldron import konfig
from kauldron.cli import _flags, command_runner

# Steps before the traced ones: they compile, and fill what is read ahead.
_STEPS_BEFORE = 10


def params(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run params`: the parameters of a run."""

    def table(trainer: Any, command: _flags.CommandLine) -> Any:
        from kauldron import inspect

        return inspect.parameter_table(trainer, depth=command["depth"])

    return _show("run params", table, argv, flag_values)


def flops(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run flops`: the operations of a forward pass."""

    def table(trainer: Any, command: _flags.CommandLine) -> Any:
        from kauldron import inspect

        return inspect.flops_table(trainer, depth=command["depth"])

    return _show("run flops", table, argv, flag_values)


def explain_key(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron run explain_key KEY`: where a key comes from, and who reads it."""

    def explain(trainer: Any, command: _flags.CommandLine) -> Any:
        from kauldron import inspect

        if not command.positional:
            raise _flags.UsageError(
                "Say which key: `kauldron run explain_key preds.logits --cfg=...`."
            )
        return inspect.explain_key(trainer, command.positional[0])

    return _show("run explain_key", explain, argv, flag_values)


def profile(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron run profile`: where the time of a step goes; `--out=DIR` writes a trace."""

    def look(trainer: Any, command: _flags.CommandLine) -> Any:
        from kauldron import inspect

        return inspect.profile_step(
            trainer, num_steps=command["steps"], depth=command["depth"]
        )

    def work(command: _flags.CommandLine) -> None:
        if command["out"]:
            _write_trace(command)
        else:
            _print(look, command)

    return _flags.run("run profile", work, argv, flag_values)


def _write_trace(command: _flags.CommandLine) -> None:
    """Trains a few steps with a profiler."""
    out, num_traced = command["out"], command["steps"]
    folder = pathlib.Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise _flags.UsageError(f"{out!r} is not empty: name a new folder.")
    cfg = command.cfg
    with cfg.ignore_type():
        cfg.workdir = str(folder)
        cfg.stop_after_steps = _STEPS_BEFORE + num_traced + 2
        cfg.checkpointer = None
        cfg.evals = {}
        cfg.profiler = konfig.ConfigDict(
            {
                "__qualname__": "kauldron.kd:inspect.Profiler",
                "first_profile": _STEPS_BEFORE,
                "num_profile_steps": num_traced,
            }
        )
    command_runner.to_trainer(konfig.resolve(cfg)).train()
    print(
        f"The trace of {num_traced} steps is in {folder / 'profile'}: "
        "`tensorboard --logdir` shows it, with the plugin xprof; "
        "https://ui.perfetto.dev opens its .trace.json.gz."
    )


def _show(
    name: str,
    look: Callable[[Any, _flags.CommandLine], Any],
    argv: Sequence[str],
    flag_values: flags.FlagValues | None,
) -> int:
    def work(command: _flags.CommandLine) -> None:
        _print(look, command)

    return _flags.run(name, work, argv, flag_values)


def _print(
    look: Callable[[Any, _flags.CommandLine], Any], command: _flags.CommandLine
) -> None:
    trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
    shown = look(trainer, command)
    if not command["json"]:
        print(shown)
        return
    values = shown.as_dicts() if hasattr(shown, "as_dicts") else shown.as_dict()
    print(json.dumps(values, indent=2))
