"""What a client is told when a request fails: a status, a word, a sentence."""

from __future__ import annotations

from typing import Any

from kauldron.apps.bundles import archives
from kauldron.apps.bundles.errors import AppError, tells_full_disk
from kauldron.apps.jobs import _devices, _processes, _table, _workers

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_call",
    429: "too_many",
    499: "client_gone",
    500: "internal_error",
    503: "unavailable",
    507: "disk_full",
}
_RETRY_SECS = 5
_DISK_FULL = "The disk of the server is full: nothing was kept."


class HttpError(Exception):
    """Ends a request.

    Attributes:
      status: Of HTTP.
      message: What is wrong, what was seen, what to do.
      code: A word for programs; that of the status unless given.
    """

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or _CODES[status]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Returns the headers that go with it."""
        if self.status in (429, 503, 507):
            return [(b"retry-after", str(_RETRY_SECS).encode())]
        return [(b"www-authenticate", b"Bearer")] if self.status == 401 else []

    def body(self) -> dict[str, Any]:
        """Returns the JSON object that the client gets."""
        return {"error": {"code": self.code, "message": self.message}}


def of(error: Exception) -> HttpError:
    """Returns what a client is told of an error; one that nobody expected tells nothing."""
    if isinstance(error, HttpError):
        return error
    told = _processes.without_folders(str(error))
    if tells_full_disk(error) or isinstance(error, _workers.DiskFullError):
        return HttpError(507, _DISK_FULL)
    match error:
        case _workers.WorkerEndedError():
            return HttpError(500, told, "worker_ended")
        case AppError() | _workers.WorkerError():
            return HttpError(422, told)
        case archives.ArchiveError() | _devices.DeviceError():
            return HttpError(400, told)
        case archives.TooLargeError():
            return HttpError(413, told)
        case _devices.NoDeviceError():
            return HttpError(503, told, "no_device")
        case _table.QueueFullError():
            return HttpError(429, "Too many jobs wait: try again later.")
    if type(error).__name__ == "OperationalError" and "full" in told:  # of SQLite
        return HttpError(507, _DISK_FULL)
    return HttpError(500, "The server failed; its log says why.")
