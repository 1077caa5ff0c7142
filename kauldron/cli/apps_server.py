"""`kauldron apps serve`: apps over HTTP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from kauldron.cli import _flags


def serve(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Serves until Ctrl-C or SIGTERM.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code.
    """

    def work(command: _flags.CommandLine) -> None:
        from kauldron import apps

        paths = command["apps"]
        if not paths:
            raise _flags.UsageError(
                "Say which apps are served: `--apps=digits_app,brain_app`."
            )
        limits = apps.Limits(
            max_file_bytes=int(command["max_file_gb"] * 1e9),
            max_request_bytes=int(command["max_request_gb"] * 1e9),
            max_jobs=command["max_jobs"],
            max_cpu_jobs=command["cpu_jobs"],
            max_job_secs=command["job_timeout"] or 0.0,
            keep_secs=command["keep_hours"] * 3600,
        )
        apps.serve(
            paths,
            host=command["host"],
            port=command["port"],
            token=command["token"],
            state=command["state"],
            warm=command["warm"],
            limits=limits,
            on_start=lambda address: _tell(paths, address),
        )

    return _flags.run("apps serve", work, argv, flag_values)


@contextlib.contextmanager
def opened(command: _flags.CommandLine, name: str) -> Iterator[Any]:
    """Yields the app that a command asks: here, or on the server of `--host`."""
    from kauldron import apps

    host, device = command["host"], None
    if command.has("device"):
        device = command["device"]
    if host is None:
        for flag in ("token", "device"):
            if command.has(flag) and command[flag] is not None:
                raise _flags.UsageError(f"--{flag} is for a server: say --host=URL.")
        with apps.App(name, trust_code=command["trust_code"]) as app:
            yield app
        return
    if command.has("trust_code") and command["trust_code"]:
        raise _flags.UsageError("--trust_code is for apps on this machine, not --host.")
    with apps.Client(host, command["token"]) as client:
        yield client.app(name, device=device or "auto")


def print_apps(command: _flags.CommandLine) -> None:
    """Prints the apps of a server."""
    from kauldron import apps

    with apps.Client(command["host"], command["token"]) as client:
        found = [client.app(name).inspect() for name in client.apps()]
    if command["json"]:
        print(json.dumps([manifest.to_json() for manifest in found]))
        return
    for manifest in found:
        print(f"{manifest.name}: {manifest.describe().splitlines()[0]}")


def _tell(paths: Sequence[str], address: str) -> None:
    what = "an app" if len(paths) == 1 else f"{len(paths)} apps"
    print(f"Serving {what} at {address} (Ctrl-C ends it). Try:")
    print(f"  kauldron apps ls --host={address}", flush=True)
