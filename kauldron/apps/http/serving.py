"""`serve` and `background_server`: apps over HTTP."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from collections.abc import Callable, Iterable, Iterator

from kauldron._base import extras, web_server
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.http._app import AppServer
from kauldron.apps.http._service import Service
from kauldron.apps.jobs import _folders, _processes, _served
from kauldron.apps.jobs.limits import Limits
from kauldron.apps.jobs.supervisor import Supervisor

_Paths = Iterable[str | os.PathLike[str]]
_PACKAGES = ("starlette", "uvicorn", "python_multipart", "sqlalchemy")


def serve(
    apps: _Paths,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    token: str | None = None,
    state: str | os.PathLike[str] | None = None,
    warm: Iterable[str] = (),
    limits: Limits = Limits(),
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serves apps over HTTP until SIGTERM or Ctrl-C.

    Jobs that wait then, wait for the next server; those that run can be run again.

    Args:
      apps: Paths of apps.
      host: `127.0.0.1` is reached from this machine only, `0.0.0.0` from all.
      port: 0 takes one that is free.
      token: What clients have to send; that of `KAULDRON_APPS_TOKEN` unless given.
      state: Directory of jobs; in the cache of this user unless given.
      warm: Names of apps that stay loaded, and answer at once.
      limits: How much is taken, kept and done at once.
      on_start: Given the address, once clients can connect.

    Raises:
      AppError: If an app cannot be served, or the server would be open to anybody.
      PortError: If the address is taken.
      StateDirError: If another server has the directory.
      MissingPackageError: If the extra `kauldron[apps]` is not installed.
    """
    token = _token(token)
    check_closed(host, token)
    with (
        web_server.open_port(host, port) as listening,
        _application(apps, token, state, warm, limits) as app,
    ):
        web_server.run_server(app, listening, on_start=on_start, on_end=app.drain)


@contextlib.contextmanager
def background_server(
    apps: _Paths,
    *,
    port: int = 0,
    token: str | None = None,
    state: str | os.PathLike[str] | None = None,
    warm: Iterable[str] = (),
    limits: Limits = Limits(),
) -> Iterator[str]:
    """Serves apps in a thread while a block runs; yields the address.

    For notebooks and tests; it is reached from this machine only.

    Args:
      apps: Paths of apps.
      port: 0 takes one that is free.
      token: See `serve`.
      state: See `serve`.
      warm: See `serve`.
      limits: See `serve`.

    Raises:
      AppError: If an app cannot be served.
      PortError: If the address is taken.
      StateDirError: If another server has the directory.
      MissingPackageError: If the extra `kauldron[apps]` is not installed.
    """
    with (
        _application(apps, _token(token), state, warm, limits) as app,
        web_server.background_server(app, port=port, on_end=app.drain) as url,
    ):
        yield url


def check_closed(host: str, token: str) -> None:
    """Refuses to let other machines in without a token.

    Raises:
      AppError: If they could come in.
    """
    try:
        is_loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not token and not is_loopback:
        raise AppError(
            f"A server on {host!r} is reached from other machines, and without a token "
            f"anybody could use it. Set {_processes.TOKEN_VARIABLE}, for instance to "
            f"{secrets.token_urlsafe(24)!r}, or serve on 127.0.0.1."
        )


@contextlib.contextmanager
def _application(
    apps: _Paths,
    token: str,
    state: str | os.PathLike[str] | None,
    warm: Iterable[str],
    limits: Limits,
) -> Iterator[AppServer]:
    for package in _PACKAGES:
        extras.load(package, needed_by="A server of apps", extra="apps")
    served = _served.read_apps(apps)
    warm = tuple(warm)
    _served.check_known(warm, served, "--warm")
    folder = _folders.StateDir(state or _folders.default_state_dir())
    with folder.owned():
        supervisor = Supervisor(served, folder, limits)
        yield AppServer(Service(supervisor=supervisor), token, warm)


def _token(token: str | None) -> str:
    found = (token or os.environ.get(_processes.TOKEN_VARIABLE, "")).strip()
    if not found.isascii() or not found.isprintable():
        raise AppError(
            "A token has letters and digits of ASCII, so that it can be sent in a header: "
            f"{secrets.token_urlsafe(24)!r} is one."
        )
    return found
