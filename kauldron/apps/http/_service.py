"""What the routes of a server share."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from kauldron._base import errors
from kauldron._base.web_calls import Message, Receive, Send, WebCall, json_bytes, sse
from kauldron.apps.bundles import archives
from kauldron.apps.http._errors import HttpError
from kauldron.apps.jobs._served import ServedApp
from kauldron.apps.jobs._table import Job
from kauldron.apps.jobs.limits import Limits
from kauldron.apps.jobs.supervisor import Supervisor


class AppCall(WebCall):
    """A request, and what is sent back."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self.query: str = scope.get("query_string", b"").decode("latin-1")

    async def fail(self, error: HttpError) -> None:
        """Tells the client of an error, in the middle of a stream too."""
        if self.status is None:
            body = json_bytes(error.body())
            await self.reply_bytes(
                body, b"application/json", error.status, error.headers()
            )
        elif self.is_streaming:
            await self.send_body(sse(error.body(), "error"))
        else:
            raise error  # the answer is cut off, and the client can tell


@dataclasses.dataclass
class Service:
    """What the routes of a server share.

    Attributes:
      supervisor: Takes the jobs.
      num_streams: Logs that are being followed.
    """

    supervisor: Supervisor
    num_streams: int = 0

    @property
    def apps(self) -> Mapping[str, ServedApp]:
        """The apps, by name."""
        return self.supervisor.apps

    @property
    def limits(self) -> Limits:
        """How much is taken."""
        return self.supervisor.limits

    def app(self, name: str) -> ServedApp:
        """Returns an app.

        Raises:
          HttpError: If there is none of this name.
        """
        found = self.apps.get(name)
        if found is None:
            raise HttpError(
                404,
                f"There is no app {name[:100]!r}: there are {list(self.apps)}."
                f"{errors.did_you_mean(name[:100], self.apps)}",
            )
        return found

    def job(self, job_id: str) -> Job:
        """Returns a job.

        Raises:
          HttpError: If there is none of this id.
        """
        found = self.supervisor.table.get(job_id) if len(job_id) <= 32 else None
        if found is None:
            raise HttpError(
                404,
                f"There is no job {job_id[:32]!r}: it was removed, or there never was one.",
            )
        return found

    def describe(self, job: Job) -> dict[str, Any]:
        """Returns what a client is told of a job."""
        return {
            "job_id": job.id,
            "app": job.app,
            "verb": job.verb,
            "status": str(job.state),
            "error": job.error or None,
            "device": job.devices or job.device,
            "created": job.created,
            "started": job.started,
            "ended": job.ended,
            "num_runs": job.num_runs,
            **links(job.id),
        }


def links(job_id: str) -> dict[str, str]:
    """Returns where the parts of a job are."""
    base = f"/jobs/{job_id}"
    return {
        "status_url": base,
        "logs_url": f"{base}/logs",
        "result_url": f"{base}/result",
    }


async def send_files(
    call: AppCall,
    files: list[tuple[str, pathlib.Path]],
    name: str,
    headers: list[tuple[bytes, bytes]],
) -> None:
    """Sends files as a zip, packed while it is sent."""
    disposition = f'attachment; filename="{name}"'.encode()
    headers = [(b"content-disposition", disposition), *headers]
    num_bytes = sum(path.stat().st_size for _, path in files)
    pieces = archives.pack(files)
    if num_bytes < 2**20:
        body = b"".join(pieces)
        await call.reply_bytes(body, b"application/zip", 200, headers)
        return
    await call.start(200, b"application/zip", headers)
    if call.method != "HEAD":
        async for piece in _in_thread(pieces):
            await call.send_body(piece, more=True)
    await call.send_body(b"")


async def send_contents(
    call: AppCall,
    files: Mapping[str, bytes],
    name: str,
    headers: list[tuple[bytes, bytes]],
) -> None:
    """Sends files that are in memory, as `send_files` does."""
    disposition = f'attachment; filename="{name}"'.encode()
    headers = [(b"content-disposition", disposition), *headers]
    await call.reply_bytes(archives.packed(files), b"application/zip", 200, headers)


async def send_file(call: AppCall, path: pathlib.Path, content_type: bytes) -> None:
    """Sends one file."""
    length = str(path.stat().st_size).encode()
    headers = [(b"content-length", length), (b"x-content-type-options", b"nosniff")]
    await call.start(200, content_type, headers)
    if call.method != "HEAD":
        async for piece in _in_thread(_read(path)):
            await call.send_body(piece, more=True)
    await call.send_body(b"")


def _read(path: pathlib.Path) -> Iterator[bytes]:
    with path.open("rb") as f:
        while piece := f.read(2**18):
            yield piece


async def _in_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
