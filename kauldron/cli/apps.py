"""`kauldron apps <verb>`: trained runs as tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import konfig
from kauldron.cli import _flags, apps_server


def bundle(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron apps bundle --workdir=RUN --out=APP`: makes an app of a run."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        workdir = command.required("workdir", "runs/digits")
        out = command.required("out", "digits_app")
        names, colours = apps.parse_labels(command["labels"])
        manifest = apps.bundle(
            workdir,
            out,
            step=command["step"] or -1,
            members=command["member"],
            eval_name=command["eval_name"],
            about=apps.Description(
                name=command["name"],
                version=command["version"],
                description=command["description"] or "",
                licence=command["licence"] or "",
                task=command["task"] or "",
                labels=names,
                colours=colours,
                allowed_overrides=command["allow"],
                data_paths=command["data_paths"],
                max_tta=command["max_tta"],
                max_mc=command["max_mc"],
            ),
            code=command["code"],
            overwrite=command["overwrite"],
            trusted=command["trust"],
        )
        print(f"{out}: {manifest.describe()}")

    return _flags.run("apps bundle", work, argv, flag_values)


def inspect(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron apps inspect APP`: what it takes, gives and can do."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        if command["host"] is None:
            manifest = apps.read_manifest(apps.find_app(_app(command)))
        else:
            with apps_server.opened(command, _app(command)) as app:
                manifest = app.inspect()
        print(
            json.dumps(manifest.to_json(), indent=1)
            if command["json"]
            else manifest.describe()
        )

    return _flags.run("apps inspect", work, argv, flag_values)


def ls(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron apps ls [FOLDER]`: the apps in a folder, or those installed."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        folder = command.positional[0] if command.positional else None
        if command["host"] is not None:
            apps_server.print_apps(command)
            return
        damage: dict[str, str] = {}
        found = apps.installed_apps(
            folder, check=True, on_damage=lambda p, e: damage.update({str(p): str(e)})
        )
        if command["json"]:
            entries = [{**m.to_json(), "path": str(p)} for p, m in found]
            bad = [{"path": path, "damaged": told} for path, told in damage.items()]
            print(json.dumps([*entries, *bad]))
            return
        for path, manifest in found:
            print(f"{path}: {manifest.describe().splitlines()[0]}")
        for path, told in damage.items():
            print(f"{path}: DAMAGED: {told}")
        if not found and not damage:
            print(
                f"There are no apps in {folder!r}."
                if folder
                else "No app is installed."
            )

    return _flags.run("apps ls", work, argv, flag_values)


def install(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron apps install APP`: copies it to where it is found by its name."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        print(apps.install(_app(command), overwrite=command["overwrite"]))

    return _flags.run("apps install", work, argv, flag_values)


def worker(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron apps worker APP`: answers calls on stdin until it ends."""

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        with apps.App(_app(command), trust_code=command["trust_code"]) as app:
            apps.serve_lines(app)

    return _flags.run("apps worker", work, argv, flag_values)


def infer(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron apps infer APP --input=FILE --out=DIR`."""
    return _verb("infer", argv, flag_values)


def evaluate(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron apps evaluate APP --input=FILE --reference=FILE --out=DIR`."""
    return _verb("evaluate", argv, flag_values)


def uncertainty(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron apps uncertainty APP --input=FILE --mc=16 --out=DIR`."""
    return _verb("uncertainty", argv, flag_values)


def pipeline(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron apps pipeline APP --input=FILE --out=DIR`."""
    return _verb("pipeline", argv, flag_values)


def fine_tune(
    argv: Sequence[str], *, flag_values: flags.FlagValues | None = None
) -> int:
    """`kauldron apps fine-tune APP --steps=100 --out=DIR`."""
    return _verb("fine-tune", argv, flag_values)


def _verb(verb: str, argv: Sequence[str], flag_values: flags.FlagValues | None) -> int:
    """Runs a verb: the flags become a call, an app does it, the result is told."""
    rest, overrides = konfig.split_overrides("cfg", argv[1:])

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        out = command.required("out", "out")
        progress = apps.shown_progress(command["progress"])
        options = {flag: _value(command, flag) for flag in _OPTIONS}
        with apps_server.opened(command, _app(command)) as app:
            call = apps.parse_call(
                verb,
                app.inspect(),
                inputs=_value(command, "input") or (),
                references=_value(command, "reference") or (),
                overrides={o.path: o.value for o in overrides},
                **{name: value for name, value in options.items() if value},
            )
            result = app.call(call, out=out, progress=progress)
        print(
            json.dumps({"out": out, **result.to_json()})
            if command["json"]
            else result.describe()
        )

    return _flags.run(f"apps {verb}", work, [argv[0], *rest], flag_values)


_OPTIONS = (
    *("mask", "ensemble", "member", "tta", "mc", "with_uncertainty"),
    *("data", "steps", "learning_rate", "name"),
)


def _value(command: _flags.CommandLine, flag: str) -> Any:
    """Returns a flag, or `None` if the verb has none of this name."""
    return command[flag] if command.has(flag) else None


def _app(command: _flags.CommandLine) -> str:
    if not command.positional:
        raise _flags.UsageError(
            f"Say which app: `kauldron {command.name} digits_app ...`."
        )
    return command.positional[0]
