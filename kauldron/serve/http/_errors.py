"""What a client is told when a request fails, in the shape of each vendor's API."""

from __future__ import annotations

import enum
import math
from typing import Any

from kauldron.serve import requests

# The official clients obey `Retry-After`, one of them whatever it says.
_LONGEST_RETRY_SECS = 30

# Status -> `type` and `code` of OpenAI's shape, and `type` of Anthropic's.
_TYPES = {
    400: ("invalid_request_error", None, "invalid_request_error"),
    401: ("invalid_request_error", "invalid_api_key", "authentication_error"),
    404: ("invalid_request_error", "not_found", "not_found_error"),
    405: ("invalid_request_error", "method_not_allowed", "invalid_request_error"),
    408: ("invalid_request_error", "request_timeout", "timeout_error"),
    413: ("invalid_request_error", "request_too_large", "request_too_large"),
    415: ("invalid_request_error", "unsupported_media_type", "invalid_request_error"),
    429: ("rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
    499: ("invalid_request_error", "client_gone", "invalid_request_error"),
    500: ("server_error", "internal_error", "api_error"),
    503: ("server_error", "engine_failed", "api_error"),
}


class Vendor(enum.Enum):
    """Whose protocol a client speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class HttpError(Exception):
    """Ends a request with a status and a message.

    Attributes:
      status: Of HTTP.
      message: What is wrong, what was seen, what to do.
      param: The field of the request that is wrong.
      code: A word for programs; that of the status unless given.
      retry_after: Seconds after which it is worth to ask again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns the headers that go with it."""
        found = []
        if self.retry_after is not None:
            secs = min(max(math.ceil(self.retry_after), 1), _LONGEST_RETRY_SECS)
            found.append((b"retry-after", str(secs).encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        return found

    def body(self, vendor: Vendor, request_id: str) -> dict[str, Any]:
        """Returns the JSON object that a vendor's client understands."""
        kind, code, anthropic_kind = _TYPES[self.status]
        if vendor is Vendor.ANTHROPIC:
            message = self.message
            if self.param is not None and self.param not in message:
                message = f"{self.param}: {message}"
            error = {"type": anthropic_kind, "message": message}
            return {"type": "error", "error": error, "request_id": request_id}
        error = {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code or code,
        }
        return {"error": error}


def of_engine(error: Exception, params: dict[str, str]) -> HttpError:
    """Returns what a client is told of an error that an engine raised.

    Args:
      error: The error.
      params: What the client calls the arguments of the engine.
    """
    if isinstance(error, requests.RequestError):
        param = params.get(error.param or "", error.param)
        return HttpError(400, str(error), param=param)
    if isinstance(error, requests.ServiceError):
        if error.retry_after is None:
            return HttpError(503, str(error))
        return HttpError(429, str(error), retry_after=error.retry_after)
    return HttpError(500, "The server failed; its log says why.")
