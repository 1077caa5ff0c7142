"""`make_app`: the routes of a server over an engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from kauldron._base import web_keys
from kauldron._base.web_calls import ClientGone, Message, Receive, Send
from kauldron.serve import _packages, requests
from kauldron.serve.http import (
    _anthropic_messages,
    _errors,
    _keys,
    _metrics,
    _openai_chat,
    _openai_completions,
    _openai_embeddings,
    _status,
)
from kauldron.serve.http._calls import Call
from kauldron.serve.http._errors import HttpError
from kauldron.serve.http._generation import Service

if TYPE_CHECKING:
    import fastapi

_log = logging.getLogger(__name__)
_Work = Callable[[Call, Service], Coroutine[Any, Any, None]]
_POST: dict[str, _Work] = {
    "/v1/chat/completions": _openai_chat.answer,
    "/v1/completions": _openai_completions.answer,
    "/v1/embeddings": _openai_embeddings.answer,
    "/v1/messages": _anthropic_messages.answer,
    "/v1/messages/count_tokens": _anthropic_messages.count_tokens,
}
_GET: dict[str, _Work] = {
    "/v1/models": _status.models,
    "/v1/models/{name:path}": _status.model,
    "/stats": _status.stats,
    "/metrics": _status.metrics,
}
# Balancers and browsers have no key.
_OPEN: dict[str, _Work] = {
    "/": _status.page,
    "/health": _status.health,
    "/ready": _status.ready,
}


def make_app(
    engine: requests.Engine,
    *,
    api_keys: Iterable[str] = (),
    max_body_bytes: int = 8 * 2**20,
    timeout: float | None = None,
) -> fastapi.FastAPI:
    """Returns the server of an engine, an ASGI application that others can add routes to.

    Args:
      engine: What answers; it is not ended with the server.
      api_keys: Clients must have one of them; anybody is served if there are none.
      max_body_bytes: Longer bodies are refused before they are read.
      timeout: Seconds after which an answer ends where it is; `None` is never.

    Raises:
      MissingPackageError: If the extra `kauldron[serve]` is not installed.

    Example:

    ```python
    app = kd.serve.make_app(engine, api_keys=["secret"])
    uvicorn.run(app, port=8000)
    ```
    """
    fastapi = _packages.load("fastapi")
    routing = _packages.load("starlette.routing")
    service = Service(
        engine=engine,
        timeout=timeout,
        created=int(time.time()),
        metrics=_metrics.Metrics(engine),
    )
    keys, anybody = _keys.make_keys(api_keys), web_keys.Keys(())
    # No pages of its own: they load scripts from elsewhere.
    app = fastapi.FastAPI(openapi_url=None, title="Kauldron")
    endpoints = [
        *(
            _Endpoint(p, w, service, keys, "POST", max_body_bytes)
            for p, w in _POST.items()
        ),
        *(_Endpoint(p, w, service, keys, "GET", 0) for p, w in _GET.items()),
        *(_Endpoint(p, w, service, anybody, "GET", 0) for p, w in _OPEN.items()),
    ]
    for endpoint in endpoints:
        app.router.routes.append(routing.Route(endpoint.route, endpoint))
    # What no route takes, those that are added later included.
    app.router.default = _Endpoint("", _not_found, service, anybody, "", 0)
    return app


async def _not_found(call: Call, service: Service) -> None:
    del service
    raise HttpError(404, f"There is no {call.path[:200]!r}.")


class _Endpoint:
    """An ASGI application that answers the calls of a route."""

    def __init__(
        self,
        route: str,
        work: _Work,
        service: Service,
        keys: web_keys.Keys,
        method: str,
        max_body_bytes: int,
    ) -> None:
        self.route = route
        self._work = work
        self._service = service
        self._keys = keys
        self._method = method
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # of no route
            await send({"type": "websocket.close", "code": 1000})
            return
        call = Call(scope, receive, send)
        metrics = self._service.metrics
        metrics.begin()
        try:
            await self._answer(call)
        except HttpError as error:
            await call.fail(error)
        except ClientGone:
            # To nobody; middleware counts on an answer, whoever hears it.
            if call.status is None:
                await call.fail(HttpError(499, "The client has closed the connection."))
        except Exception as error:
            told = _errors.of_engine(error, {})
            if told.status == 500:
                _log.exception("%s %s %s failed", call.id, call.method, call.path)
            await call.fail(told)
        finally:
            metrics.end(self.route, call.status, call.secs(), call.first_byte_secs)

    async def _answer(self, call: Call) -> None:
        if not self._keys.allow(call.headers):
            raise HttpError(
                401,
                "The API key is missing or wrong: send `Authorization: Bearer KEY` or "
                "`x-api-key: KEY`.",
            )
        methods = {"GET": ("GET", "HEAD")}.get(self._method, (self._method,))
        if self._method and call.method not in methods:
            raise HttpError(
                405, f"{call.path} is asked by {self._method}: got {call.method[:20]}."
            )
        if self._method == "POST":
            await call.read_body(self._max_body_bytes)
        await call.until_gone(self._work(call, self._service))
