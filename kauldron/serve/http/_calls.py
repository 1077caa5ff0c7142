"""One request over HTTP: read with limits, worked on until the client has gone, answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

from kauldron.serve.http import _fields
from kauldron.serve.http._errors import HttpError, Vendor

_BODY_SECS = 60.0
PING_SECS = 15.0

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
_PINGS = {
    # A comment: clients skip it.
    Vendor.OPENAI: b": ping\n\n",
    Vendor.ANTHROPIC: b'event: ping\ndata: {"type": "ping"}\n\n',
}


class ClientGone(Exception):
    """The client has closed the connection: nobody waits for the answer."""


class Call:
    """A request over HTTP, and what is sent back.

    Attributes:
      path: Of the URL.
      path_params: What a route took out of it.
      headers: By lower-case name.
      vendor: Whose shapes the answer has.
      id: Told in a header, in errors and in the log.
      body: Fields of the JSON body, once they are read.
      status: What was sent; `None` before.
      first_byte_secs: When, after the call began.
    """

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.path_params: Message = scope.get("path_params", {})
        self.method: str = scope["method"]
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        is_anthropic = self.path.startswith("/v1/messages") or (
            "anthropic-version" in self.headers
        )
        self.vendor = Vendor.ANTHROPIC if is_anthropic else Vendor.OPENAI
        self.id = f"req_{uuid.uuid4().hex}"
        self.body = _fields.Fields({})
        self.status: int | None = None
        self.first_byte_secs: float | None = None
        self._started = time.monotonic()
        self._receive = receive
        self._send = send
        self._is_streaming = False

    def secs(self) -> float:
        """Returns how long ago the call began."""
        return time.monotonic() - self._started

    async def read_body(self, max_bytes: int) -> None:
        """Reads the JSON body; what is too long is refused before it is read."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(
                415,
                "The body must be JSON: send the header `Content-Type: "
                f"application/json`, got {kind or 'none'!r}.",
            )
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise _too_large(max_bytes)
        try:
            async with asyncio.timeout(_BODY_SECS):
                body = await self._read(max_bytes)
        except TimeoutError:
            raise HttpError(
                408, f"The body did not arrive within {_BODY_SECS:.0f} seconds."
            ) from None
        self.body = _fields.parse(body)

    async def _read(self, max_bytes: int) -> bytes:
        chunks, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
            if not message.get("more_body", False):
                return b"".join(chunks)

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
        await self._reply(json_bytes(value), b"application/json", status)

    async def reply_text(self, text: str, content_type: str, **headers: str) -> None:
        """Sends a text, with headers such as `cache_control="no-cache"`."""
        more = [
            (name.replace("_", "-").encode(), value.encode())
            for name, value in headers.items()
        ]
        await self._reply(text.encode(), content_type.encode(), 200, more)

    async def _reply(
        self,
        body: bytes,
        content_type: bytes,
        status: int,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, content_type, [length, *(headers or [])])
        sent = b"" if self.method == "HEAD" else body
        await self._send({"type": "http.response.body", "body": sent})

    async def stream(self, events: AsyncGenerator[bytes, None]) -> None:
        """Sends server-sent events as they come, and a sign of life between them.

        The first one is awaited before anything is sent: what fails until then has a status
        of its own.
        """
        async with contextlib.aclosing(_with_pings(events, _PINGS[self.vendor])) as all:
            async for event in all:
                if self.status is None:
                    # Proxies such as nginx collect answers unless told otherwise.
                    headers = [(b"cache-control", b"no-cache")]
                    headers.append((b"x-accel-buffering", b"no"))
                    await self._start(200, b"text/event-stream; charset=utf-8", headers)
                    self._is_streaming = True
                await self._send(
                    {"type": "http.response.body", "body": event, "more_body": True}
                )
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: HttpError) -> None:
        """Tells the client of an error, in the middle of a stream too."""
        body = error.body(self.vendor, self.id)
        if self.status is None:
            content = json_bytes(body)
            headers = error.headers()
            await self._reply(content, b"application/json", error.status, headers)
        elif self._is_streaming:
            name = "error" if self.vendor is Vendor.ANTHROPIC else None
            event = sse(body, name)
            await self._send({"type": "http.response.body", "body": event})
        else:
            raise error

    async def _start(
        self, status: int, content_type: bytes, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.status = status
        self.first_byte_secs = self.secs()
        id_header = (
            b"request-id" if self.vendor is Vendor.ANTHROPIC else b"x-request-id"
        )
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type),
                    (id_header, self.id.encode()),
                    *headers,
                ],
            }
        )


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, f"The body is larger than the limit of {max_bytes} bytes.")


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
