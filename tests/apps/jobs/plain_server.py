"""A server of apps that compute nothing, in this process or as one of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import sys

from kauldron._base import web_server
from kauldron.apps.http import _app, _service
from kauldron.apps.jobs import _folders, _served, limits, supervisor

_VERBS = pathlib.Path(__file__).with_name("plain_verbs.py")


def command_in_memory(arguments):
    """The same, with workers that take files in memory."""
    more = ["--in_memory"] if arguments[1] == "worker" else []
    return [*command(arguments), *more]


def command(arguments):
    return [sys.executable, "-I", "-S", str(_VERBS), *arguments]


async def no_devices():
    return []


@contextlib.contextmanager
def supervised(folder, apps, *, find_devices=no_devices, make=command, **changes):
    """Yields a supervisor that is not open yet, of a state directory that it owns."""
    state = _folders.StateDir(folder)
    with state.owned():
        yield supervisor.Supervisor(
            _served.read_apps(apps),
            state,
            limits.Limits(**changes),
            find_devices=find_devices,
            command=make,
        )


@contextlib.contextmanager
def application(folder, apps, *, token="", warm=(), **changes):
    """Yields the ASGI application."""
    with supervised(folder, apps, **changes) as found:
        yield _app.AppServer(_service.Service(supervisor=found), token, tuple(warm))


@contextlib.contextmanager
def in_thread(folder, apps, *, port=0, **changes):
    """Yields the address of a server in this process."""
    with (
        application(folder, apps, **changes) as app,
        web_server.background_server(app, port=port, on_end=app.drain) as url,
    ):
        yield url


def main():
    """Serves; arguments: the state directory, JSON of the changes, apps."""
    logging.disable()
    folder, text, *apps = sys.argv[1:]
    changes = json.loads(text)
    if changes.pop("in_memory", False):
        changes["make"] = command_in_memory
    with (
        web_server.open_port("127.0.0.1", 0) as listening,
        application(folder, apps, **changes) as app,
    ):
        web_server.run_server(
            app,
            listening,
            on_start=lambda address: print(address, flush=True),
            on_end=app.drain,
        )


if __name__ == "__main__":
    main()
