"""One request over HTTP: read with limits, answered in the shape of a vendor."""

from __future__ import annotations

import asyncio

from kauldron._base.web_calls import (
    COMMENT_PING,
    Message,
    Receive,
    Send,
    WebCall,
    json_bytes,
    sse,
)
from kauldron.serve.http import _fields
from kauldron.serve.http._errors import HttpError, Vendor

_BODY_SECS = 60.0
PINGS = {
    Vendor.OPENAI: COMMENT_PING,
    Vendor.ANTHROPIC: b'event: ping\ndata: {"type": "ping"}\n\n',
}


class Call(WebCall):
    """A request over HTTP, and what is sent back.

    Attributes:
      vendor: Whose shapes the answer has.
      body: Fields of the JSON body, once they are read.
    """

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        is_anthropic = self.path.startswith("/v1/messages") or (
            "anthropic-version" in self.headers
        )
        self.vendor = Vendor.ANTHROPIC if is_anthropic else Vendor.OPENAI
        if is_anthropic:
            self.id_header = b"request-id"
        self.body = _fields.Fields({})

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
        async for chunk in self.chunks():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
        return b"".join(chunks)

    async def fail(self, error: HttpError) -> None:
        """Tells the client of an error, in the middle of a stream too."""
        body = error.body(self.vendor, self.id)
        if self.status is None:
            content, headers = json_bytes(body), error.headers()
            await self.reply_bytes(content, b"application/json", error.status, headers)
        elif self.is_streaming:
            name = "error" if self.vendor is Vendor.ANTHROPIC else None
            await self.send_body(sse(body, name))
        else:
            raise error


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, f"The body is larger than the limit of {max_bytes} bytes.")
