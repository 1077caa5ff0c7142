"""Warm workers: a process that keeps an app loaded and compiled, and answers calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from kauldron.apps.jobs import _processes
from kauldron.apps.jobs._folders import JobFolder

_log = logging.getLogger(__name__)
_LINE_BYTES = 2**26
_PIPE_BYTES = 2**14
_MAX_MESSAGE = 2000


class WorkerError(Exception):
    """A call that a warm worker could not do; the message is for the client."""


class WorkerEndedError(WorkerError):
    """A warm worker failed or ended in the middle of a call, and the call is right."""


class DiskFullError(WorkerError):
    """There was no room for what a warm worker wanted to write."""


class NeedsFilesError(WorkerError):
    """A warm worker cannot do a call in memory."""


class WarmWorker:
    """A process that answers calls one after the other; started again when it ends.

    Args:
      command: The command line; reads and writes lines as `serve_lines` does.
      env: Its variables.
      folder: Where it runs, and what it prints on stderr goes.

    Attributes:
      works_in_memory: Whether it does calls whose files are in memory; `None` if that is
        not known yet.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], folder: JobFolder
    ) -> None:
        self._command = list(command)
        self._env = dict(env)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: asyncio.StreamReader | None = None
        self._pipe: asyncio.BaseTransport | None = None
        self.works_in_memory: bool | None = None
        self._is_ready = False
        self._turn = asyncio.Lock()
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process unless it runs; what it loads, it loads meanwhile."""
        async with self._starting:  # whoever comes meanwhile finds it ready to be asked
            if not self._is_running:
                await self._start_anew()

    @property
    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def _start_anew(self) -> None:
        await self.stop()
        self._folder.path.mkdir(parents=True, exist_ok=True)
        # Also what it has started itself is gone before it starts again.
        await asyncio.to_thread(_processes.end_orphan, self._folder)
        pipes = subprocess.PIPE, subprocess.PIPE
        self._process = _processes.start(self._folder, self._command, self._env, *pipes)
        answers = asyncio.StreamReader(limit=_LINE_BYTES)
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(answers), self._process.stdout
        )
        self._answers = answers
        self._is_ready = False

    async def ask(self, call: Mapping[str, Any], out: pathlib.Path) -> None:
        """Does a call; nobody is told how far it is.

        Cancelled, it ends the process: a computation that has begun cannot be taken back.

        Args:
          call: `Call.to_json()`, with paths that the process finds.
          out: The folder to write.

        Raises:
          WorkerError: If it was not done.
          WorkerEndedError: If that is not for what was asked.
          DiskFullError: If there was no room in the folder.
        """
        request = {"call": call, "out": str(out), "tells_progress": False}
        await self._asked(request, ())

    async def ask_in_memory(
        self, call: Mapping[str, Any], contents: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """Does a call with files in memory; for the rest, see `ask`.

        Args:
          call: `Call.to_json()`, with names of `contents` as paths.
          contents: File -> bytes.

        Returns:
          Name of a file of the result -> bytes.

        Raises:
          NeedsFilesError: If it has to be asked with files.
        """
        sizes = {name: len(content) for name, content in contents.items()}
        return await self._asked({"call": call, "contents": sizes}, contents.values())

    async def _asked(
        self, request: Mapping[str, Any], contents: Iterable[bytes]
    ) -> dict[str, bytes]:
        data = b"".join([json.dumps(request).encode(), b"\n", *contents])
        async with self._turn:
            try:
                if not self._is_ready or not self._is_running:
                    await self.start()
                if not self._is_ready:
                    await self._wait_until_ready()
                if "contents" in request and not self.works_in_memory:
                    raise NeedsFilesError("It works with files.")
                answer, files = await self._exchange(data)
            except NeedsFilesError:
                raise
            except BaseException:
                await self.stop()
                raise
        _check(answer)
        return files

    async def _wait_until_ready(self) -> None:
        told = await self._next_answer()
        self.works_in_memory = bool(told.get("works_in_memory"))
        self._is_ready = True

    async def _exchange(
        self, data: bytes
    ) -> tuple[Mapping[str, Any], dict[str, bytes]]:
        process, answers = self._process, self._answers
        assert process is not None and process.stdin is not None
        assert answers is not None
        try:
            # What does not fit into the pipe waits for the worker to read it.
            if len(data) > _PIPE_BYTES:
                await asyncio.to_thread(_send, process.stdin, data)
            else:
                _send(process.stdin, data)
            while True:
                answer = await self._next_answer()
                if "contents" in answer:
                    sizes = answer["contents"]
                    whole = await answers.readexactly(sum(sizes.values()))
                    return answer, _cut(whole, sizes)
                if "result" in answer or "error" in answer:
                    return answer, {}
        except (ConnectionError, EOFError):
            _log.exception("A warm worker broke off")
        raise self._ended()

    async def _next_answer(self) -> Mapping[str, Any]:
        assert self._answers is not None
        try:
            if line := await self._answers.readline():
                return json.loads(line)
        except (ConnectionError, ValueError):
            _log.exception("A warm worker broke off")
        raise self._ended()

    def _ended(self) -> WorkerEndedError:
        _log.error("A warm worker ended: %s", _processes.tail(self._folder.problems))
        return WorkerEndedError("The worker of this app ended: ask again.")

    async def stop(self) -> None:
        """Ends the process, at once."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if self._pipe is not None:
            self._pipe.close()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        await asyncio.to_thread(process.wait)


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(data)
    pipe.flush()


def _check(answer: Mapping[str, Any]) -> None:
    """Raises `WorkerError` if an answer is an error."""
    if (error := answer.get("error")) is None:
        return
    told = _processes.without_folders(str(error.get("message"))[:_MAX_MESSAGE])
    match error.get("code"):
        case "mistake":
            raise WorkerError(told)
        case "disk_full":
            raise DiskFullError("The disk of the server is full.")
        case "too_large":
            raise NeedsFilesError(told)
    _log.error("A warm worker failed: %s", told)
    raise WorkerEndedError("The call failed; the log of the server says why.")


def _cut(whole: bytes, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Returns the files that are one after the other in some bytes."""
    found, start = {}, 0
    for name, size in sizes.items():
        found[name] = whole[start : start + size]
        start += size
    return found
