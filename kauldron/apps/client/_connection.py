"""`Connection`: requests to a server of apps, and what its answers mean."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from kauldron._base import errors, extras
from kauldron.apps.bundles import archives, results
from kauldron.apps.bundles.asking import Progress
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.results import Result
from kauldron.apps.client import _events, _forms

_TIMEOUT_SECS = 60.0
_AGAIN_SECS = 0.5
_ACTIVE = ("queued", "running")
_RETRIED = (429, 503, 507)
_MISTAKES = (400, 401, 403, 404, 405, 413, 415, 422)


class ServerError(errors.Failure):
    """A server could not do what was asked, or cannot be reached."""


class UnreachableError(ServerError):
    """A server does not answer, or has broken off."""


class Connection:
    """Requests to a server, and what its answers mean.

    Args:
      url: Its address.
      token: What it wants to see; `KAULDRON_APPS_TOKEN` unless given.
      patience_secs: How long a server is waited for that is busy or does not answer.
    """

    def __init__(self, url: str, token: str | None, patience_secs: float) -> None:
        self._httpx = extras.load("httpx", needed_by="A client of apps", extra="apps")
        self._url = url.rstrip("/")
        self._patience_secs = patience_secs
        token = token or os.environ.get("KAULDRON_APPS_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = self._httpx.Client(
            base_url=_checked(self._url), headers=headers, timeout=_TIMEOUT_SECS
        )

    def close(self) -> None:
        """Ends it."""
        self._http.close()

    def follow(self, job_id: str, progress: Progress) -> None:
        """Returns when a job has ended; goes on after connections that broke off.

        Raises:
          ServerError: If the server does not come back.
        """
        last_id, broken_since = "0", None
        while True:
            try:
                for event in self._events(job_id, last_id):
                    last_id, broken_since = event.id, None
                    if event.name == "end":
                        return
                    _tell(progress, event.text)
                if self.ask("GET", f"/jobs/{job_id}")["status"] not in _ACTIVE:
                    return
            except (self._httpx.TransportError, UnreachableError) as error:
                broken_since = broken_since or time.monotonic()
                if time.monotonic() > broken_since + self._patience_secs:
                    raise self._unreachable(error) from None
            time.sleep(_AGAIN_SECS)

    @contextlib.contextmanager
    def submitted(
        self, path: str, form: _forms.Form, headers: Mapping[str, str]
    ) -> Iterator[Any]:
        """Sends a form, again while the server is too busy; yields the answer."""
        deadline = time.monotonic() + self._patience_secs
        while True:
            request = self._http.build_request(
                "POST", path, content=form.pieces(), headers={**form.headers, **headers}
            )
            response = self._send(request)
            try:
                is_late = time.monotonic() > deadline
                if response.status_code not in _RETRIED or is_late:
                    self._check(response)
                    yield response
                    return
            finally:
                response.close()
            time.sleep(float(response.headers.get("retry-after", 1)))

    def unpack(self, response: Any, folder: pathlib.Path) -> Result:
        """Returns the result that an answer holds, in a folder."""
        # Without a name, on the disk where it goes.
        with tempfile.TemporaryFile(dir=folder) as archive:
            try:
                for piece in response.iter_bytes(2**18):
                    archive.write(piece)
            except self._httpx.TransportError as error:
                raise self._unreachable(error) from None
            archive.seek(0)
            try:
                archives.unpack(archive, folder, archives.ANY_SIZE)
            except (archives.ArchiveError, archives.TooLargeError) as error:
                raise ServerError(f"The result cannot be read: {error}") from None
        return results.read_result(folder)

    def download(self, job_id: str, folder: pathlib.Path) -> Result:
        """Returns what a job gave, in a folder.

        Raises:
          ServerError: If it gave nothing.
        """
        response = self._send(self._http.build_request("GET", f"/jobs/{job_id}/result"))
        with contextlib.closing(response):
            self._check(response)
            return self.unpack(response, folder)

    def _events(self, job_id: str, last_id: str) -> Iterator[_events.Event]:
        headers = {"Last-Event-ID": last_id}
        with self._http.stream(
            "GET", f"/jobs/{job_id}/logs", headers=headers
        ) as stream:
            self._check(stream)
            yield from _events.read_events(stream.iter_lines())

    def ask(self, method: str, path: str) -> dict[str, Any]:
        """Returns the JSON that the server answers.

        Raises:
          AppError: If what was asked is wrong.
          ServerError: If the server could not do it.
        """
        response = self._send(self._http.build_request(method, path))
        with contextlib.closing(response):
            self._check(response)
            response.read()
            return response.json()

    def _send(self, request: Any) -> Any:
        try:
            return self._http.send(request, stream=True)
        except self._httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _check(self, response: Any) -> None:
        """Raises what the server says is wrong."""
        if response.status_code < 400:
            return
        response.read()
        try:
            message = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            message = f"The server answered {response.status_code}."
        if response.status_code == 401:
            message += (
                " `--token=TOKEN`, or the variable KAULDRON_APPS_TOKEN, gives it."
            )
        if response.status_code in _MISTAKES:
            raise AppError(message)
        raise ServerError(message)

    def _unreachable(self, error: Exception) -> UnreachableError:
        if isinstance(error, UnreachableError):
            return error
        told = str(error) or type(error).__name__
        return UnreachableError(
            f"The server at {self._url} cannot be reached, or has broken off: {told}. "
            "Is it running? `kauldron apps serve` starts one."
        )


def _checked(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_right = False
    if not is_right:
        raise AppError(
            f"A server has an address such as 'http://127.0.0.1:8001': got {url!r}."
        )
    return url


def _tell(progress: Progress, line: str) -> None:
    try:
        told = json.loads(line)
        progress(float(told["progress"]), str(told["message"]))
    except (ValueError, KeyError, TypeError):
        pass  # an ordinary line of a log
