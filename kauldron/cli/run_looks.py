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
    """`kauldron run profile --out=DIR`: traces a few steps of a training."""

    def work(command: _flags.CommandLine) -> None:
        out = command["out"]
        if not out:
            raise _flags.UsageError(
                "Say where to: `kauldron run profile --cfg=... --out=profile`."
            )
        folder = pathlib.Path(out)
        if folder.exists() and any(folder.iterdir()):
            raise _flags.UsageError(f"{out!r} is not empty: name a new folder.")
        cfg, num_traced = command.cfg, command["steps"]
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

    return _flags.run("run profile", work, argv, flag_values)


def _show(
    name: str,
    look: Callable[[Any, _flags.CommandLine], Any],
    argv: Sequence[str],
    flag_values: flags.FlagValues | None,
) -> int:
    def work(command: _flags.CommandLine) -> None:
        trainer = command_runner.to_trainer(konfig.resolve(command.cfg))
        shown = look(trainer, command)
        if not command["json"]:
            print(shown)
            return
        values = shown.as_dicts() if hasattr(shown, "as_dicts") else shown.as_dict()
        print(json.dumps(values, indent=2))

    return _flags.run(name, work, argv, flag_values)
