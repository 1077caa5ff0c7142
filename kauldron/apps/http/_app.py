"""The routes of a server of apps, and who may ask."""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Callable, Coroutine
from typing import Any

from kauldron._base import extras
from kauldron._base.web_calls import ClientGone, Message, Receive, Send
from kauldron._base.web_keys import Keys
from kauldron.apps.http import _errors, _job_routes, _status_routes
from kauldron.apps.http._errors import HttpError
from kauldron.apps.http._service import AppCall, Service

_log = logging.getLogger(__name__)
_Work = Callable[[AppCall, Service], Coroutine[Any, Any, None]]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_ROUTES: dict[str, dict[str, _Work]] = {
    "/apps/{app}/{verb}": {"POST": _job_routes.submit},
    "/health": {"GET": _status_routes.health},
    "/available_devices": {"GET": _status_routes.devices},
    "/ram": {"GET": _status_routes.ram},
    "/vram": {"GET": _status_routes.vram},
    "/repo_apps_list": {"GET": _status_routes.apps},
    "/repo_apps/{app}": {"GET": _status_routes.app},
    "/repo_apps_config/{app}": {"GET": _status_routes.app_config},
    "/jobs": {"GET": _job_routes.jobs},
    "/jobs/{job}": {"GET": _job_routes.job, "DELETE": _job_routes.remove},
    "/jobs/{job}/logs": {"GET": _job_routes.logs},
    "/jobs/{job}/result": {"GET": _job_routes.result},
    "/jobs/{job}/files": {"GET": _job_routes.files},
    "/jobs/{job}/files/{name:path}": {"GET": _job_routes.file},
    "/jobs/{job}/kill": {"POST": _job_routes.kill},
    "/jobs/{job}/run_again": {"POST": _job_routes.run_again},
}


class AppServer:
    """An ASGI application: the routes of a server of apps.

    Args:
      service: What the routes share.
      token: What clients have to send; anybody on this machine is served if it is empty.
      warm: Names of apps that stay loaded.
    """

    def __init__(self, service: Service, token: str, warm: tuple[str, ...]) -> None:
        routing = extras.load(
            "starlette.routing", needed_by="A server of apps", extra="apps"
        )
        self._service = service
        self._keys = Keys([token] if token else [])
        self._warm = warm
        routes = [
            routing.Route(path, self._endpoint(work)) for path, work in _ROUTES.items()
        ]
        # The page is the same for everybody, and a browser has no token yet.
        page = self._endpoint({"GET": _status_routes.page}, is_open=True)
        self._router = routing.Router([*routes, routing.Route("/", page)])
        self._router.redirect_slashes = False
        self._router.default = self._endpoint({})

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":  # of no route
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._router(scope, receive, send)

    def drain(self) -> None:
        """Lets those who follow jobs go: the server is about to end."""
        self._service.supervisor.drain()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._service.supervisor.open(self._warm)
        except Exception as error:
            _log.exception("The server cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._service.supervisor.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _endpoint(self, work: dict[str, _Work], *, is_open: bool = False) -> Any:
        return _Endpoint(work, self._service, Keys([]) if is_open else self._keys)


class _Endpoint:
    """An ASGI application that answers the calls of a route."""

    def __init__(self, work: dict[str, _Work], service: Service, keys: Keys) -> None:
        self._work = work
        self._service = service
        self._keys = keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        call = AppCall(scope, receive, send)
        try:
            await self._answer(call)
        except ClientGone:
            # To nobody; middleware counts on an answer, whoever hears it.
            if call.status is None:
                await call.fail(HttpError(499, "The client has closed the connection."))
        except Exception as error:
            told = _errors.of(error)
            if told.status == 500:
                _log.exception("%s %s %s failed", call.id, call.method, call.path)
            await call.fail(told)

    async def _answer(self, call: AppCall) -> None:
        if not self._keys.allow(call.headers):
            raise HttpError(
                401,
                "The token is missing or wrong: send `Authorization: Bearer TOKEN`.",
            )
        _check_origin(call, is_open=not self._keys)
        if not self._work:
            raise HttpError(404, f"There is no {call.path[:200]!r}.")
        method = "GET" if call.method == "HEAD" else call.method
        if method not in self._work:
            raise HttpError(
                405, f"This is asked by {' or '.join(self._work)}: got {method[:20]}."
            )
        work = self._work[method](call, self._service)
        if method == "POST":  # reads the body itself, and so learns of the end
            await work
        else:
            await call.until_gone(work)


def _check_origin(call: AppCall, *, is_open: bool) -> None:
    """Refuses what pages of other sites let a browser send.

    Without a token, the name by which the server was asked must be one of this machine:
    else it is a site whose name leads here.
    """
    host = call.headers.get("host", "")
    if is_open and host and _name(f"//{host}") not in _LOOPBACK:
        raise HttpError(
            403, f"A server without a token answers to {_LOOPBACK}: got {host[:100]!r}."
        )
    origin = call.headers.get("origin")
    if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
        raise HttpError(403, "Pages of other sites may not use this server.")


def _name(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        return ""
