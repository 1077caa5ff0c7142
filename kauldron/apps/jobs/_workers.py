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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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


class WarmWorker:
    """A process that answers calls one after the other; started again when it ends.

    Args:
      command: The command line; reads and writes lines as `serve_lines` does.
      env: Its variables.
      folder: Where it runs, and what it prints on stderr goes.
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
        self._turn = asyncio.Lock()
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process unless it runs; what it loads, it loads meanwhile."""
        async with self._starting:  # whoever comes meanwhile finds it ready to be asked
            if self._process is None or self._process.poll() is not None:
                await self._start_anew()

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
        async with self._turn:
            try:
                await self.start()
                answer = await self._exchange(json.dumps(request).encode() + b"\n")
            except BaseException:
                await self.stop()
                raise
        if (error := answer.get("error")) is not None:
            told = _processes.without_folders(str(error.get("message"))[:_MAX_MESSAGE])
            if error.get("code") == "mistake":
                raise WorkerError(told)
            if error.get("code") == "disk_full":
                raise DiskFullError("The disk of the server is full.")
            _log.error("A warm worker failed: %s", told)
            raise WorkerEndedError("The call failed; the log of the server says why.")

    async def _exchange(self, line: bytes) -> Mapping[str, Any]:
        process, answers = self._process, self._answers
        assert process is not None and process.stdin is not None
        assert answers is not None
        try:
            # A line that does not fit into the pipe waits for the worker to read it.
            await _in_thread_if(len(line) > _PIPE_BYTES, process.stdin.write, line)
            process.stdin.flush()
            while answer := await answers.readline():
                found = json.loads(answer)
                if "result" in found or "error" in found:
                    return found
        except (ConnectionError, ValueError):
            _log.exception("A warm worker broke off")
        _log.error("A warm worker ended: %s", _processes.tail(self._folder.problems))
        raise WorkerEndedError("The worker of this app ended: ask again.")

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


async def _in_thread_if(
    is_long: bool, work: Callable[[bytes], Any], data: bytes
) -> None:
    if is_long:
        await asyncio.to_thread(work, data)
    else:
        work(data)
