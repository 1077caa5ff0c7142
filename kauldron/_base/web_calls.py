"""One request over HTTP: worked on until the client has gone, answered once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

PING_SECS = 15.0
# A comment: clients skip it.
COMMENT_PING = b": ping\n\n"

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client has closed the connection: nobody waits for the answer."""


class WebCall:
    """A request over HTTP, and what is sent back.

    Attributes:
      path: Of the URL.
      path_params: What a route took out of it.
      headers: By lower-case name.
      id: Told in a header, in errors and in the log.
      status: What was sent; `None` before.
      first_byte_secs: When, after the call began.
      is_streaming: Whether server-sent events have begun.
      has_ended: Whether `chunks` has yielded all of the body.
    """

    # The header that tells the id.
    id_header = b"x-request-id"

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.path_params: Message = scope.get("path_params", {})
        self.method: str = scope["method"]
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self.id = f"req_{uuid.uuid4().hex}"
        self.status: int | None = None
        self.first_byte_secs: float | None = None
        self.is_streaming = False
        self.has_ended = False
        self._started = time.monotonic()
        self._receive = receive
        self._send = send

    def secs(self) -> float:
        """Returns how long ago the call began."""
        return time.monotonic() - self._started

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it comes.

        Raises:
          ClientGone: If it ends too early.
        """
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.has_ended = not message.get("more_body", False)
            yield message.get("body", b"")
            if self.has_ended:
                return

    async def until_gone(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the work; cancels it when the client closes the connection.

        Raises:
          ClientGone: If it did.
        """
        # Not `is_disconnected()`: that fails for ever behind a `BaseHTTPMiddleware`.
        tasks = [asyncio.ensure_future(c) for c in (work, self._disconnected())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                raise ClientGone
            tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, value: object, status: int = 200) -> None:
        """Sends a JSON value."""
        await self.reply_bytes(json_bytes(value), b"application/json", status)

    async def reply_text(self, text: str, content_type: str, **headers: str) -> None:
        """Sends a text, with headers such as `cache_control="no-cache"`."""
        more = [
            (name.replace("_", "-").encode(), value.encode())
            for name, value in headers.items()
        ]
        await self.reply_bytes(text.encode(), content_type.encode(), 200, more)

    async def reply_bytes(
        self,
        body: bytes,
        content_type: bytes,
        status: int = 200,
        headers: Headers | None = None,
    ) -> None:
        """Sends a whole answer."""
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, content_type, [length, *(headers or [])])
        await self.send_body(b"" if self.method == "HEAD" else body)

    async def stream(
        self, events: AsyncGenerator[bytes, None], ping: bytes = COMMENT_PING
    ) -> None:
        """Sends server-sent events as they come, and a sign of life between them.

        The first one is awaited before anything is sent: what fails until then has a status
        of its own.
        """
        async with contextlib.aclosing(_with_pings(events, ping)) as all:
            async for event in all:
                if self.status is None:
                    # Proxies such as nginx collect answers unless told otherwise.
                    headers = [(b"cache-control", b"no-cache")]
                    headers.append((b"x-accel-buffering", b"no"))
                    await self.start(200, b"text/event-stream; charset=utf-8", headers)
                    self.is_streaming = True
                await self.send_body(event, more=True)
        await self.send_body(b"")

    async def start(self, status: int, content_type: bytes, headers: Headers) -> None:
        """Sends the head of an answer."""
        self.status = status
        self.first_byte_secs = self.secs()
        head = [(b"content-type", content_type), (self.id_header, self.id.encode())]
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*head, *headers],
            }
        )

    async def send_body(self, body: bytes, *, more: bool = False) -> None:
        """Sends bytes of an answer that has begun; the last ones unless `more` come."""
        message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._send(message)


async def _with_pings(
    events: AsyncGenerator[bytes, None], ping: bytes
) -> AsyncGenerator[bytes, None]:
    """Yields events, and pings where the next one is long in coming; none at first."""
    is_first, upcoming = True, None
    try:
        while True:
            upcoming = asyncio.ensure_future(anext(events, None))
            patience = None if is_first else PING_SECS
            while not (await asyncio.wait({upcoming}, timeout=patience))[0]:
                yield ping
            event = upcoming.result()
            if event is None:
                return
            yield event
            is_first = False
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
        await events.aclose()


def json_bytes(value: object) -> bytes:
    """Returns a value as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(value: object, event: str | None = None) -> bytes:
    """Returns a server-sent event; two newlines end it."""
    name = b"" if event is None else f"event: {event}\n".encode()
    return name + b"data: " + json_bytes(value) + b"\n\n"


def sse_text(text: str, event_id: object, event: str | None = None) -> bytes:
    """Returns a server-sent event of one line of text, with an id to go on from."""
    name = "" if event is None else f"event: {event}\n"
    return f"id: {event_id}\n{name}data: {text}\n\n".encode()
