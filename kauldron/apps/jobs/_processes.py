"""The process of a job: in a session of its own, ended with all that it has started."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import kauldron
from kauldron.apps.jobs import _folders

TOKEN_VARIABLE = "KAULDRON_APPS_TOKEN"

_TERM_SECS = 3.0
_TAIL_BYTES = 16_384
_MAX_MESSAGE = 2000
# The id is written before anything can be lost track of.
_SHELL = ("/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"')
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\":]+/)+")


def kauldron_command(arguments: Sequence[str]) -> list[str]:
    """Returns the command line of `kauldron`, of this very installation."""
    return [sys.executable, "-m", "kauldron.cli.main", *arguments]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of a child: those of the server, without its token."""
    root = str(pathlib.Path(kauldron.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {k: v for k, v in os.environ.items() if k != TOKEN_VARIABLE}
    return {
        **env,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


def start(
    folder: _folders.JobFolder,
    command: Sequence[str],
    env: Mapping[str, str],
    stdin: Any,
    stdout: Any,
) -> subprocess.Popen[bytes]:
    """Starts a process that `end_orphan` ends, if its server is killed."""
    with folder.running.open("w") as running, folder.problems.open("wb") as problems:
        # Held by the child alone once this file is closed here.
        fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return subprocess.Popen(
            [*_SHELL, str(folder.process), *command],
            cwd=folder.path,
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=problems,
            start_new_session=True,
            pass_fds=(running.fileno(),),
        )


class JobProcess:
    """A process of a job that runs.

    Args:
      folder: Of the job: where it runs, what it prints to.
      command: The command line, without a shell.
      env: Its variables.

    Raises:
      OSError: If it cannot be started, such as on a full disk.
    """

    def __init__(
        self, folder: _folders.JobFolder, command: Sequence[str], env: Mapping[str, str]
    ) -> None:
        with folder.log.open("ab") as log:
            self._process = start(folder, command, env, subprocess.DEVNULL, log)
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        # The group is ended before the process is reaped: until then, its number is its.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tell, code)

    def _tell(self, code: int) -> None:
        if not self._exit.done():
            self._exit.set_result(code)

    async def wait(self) -> int:
        """Returns the exit code, negative for a signal, when all of it has ended."""
        return await asyncio.shield(self._exit)

    async def stop(self) -> None:
        """Asks it to end, and ends it after three seconds."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), _TERM_SECS)
        self._signal(signal.SIGKILL)
        await self.wait()

    def _signal(self, number: int) -> None:
        if not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def end_orphan(folder: _folders.JobFolder) -> None:
    """Ends the process of a job or a worker whose server was killed, if it lives."""
    deadline = time.monotonic() + 5
    while _is_running(folder) and time.monotonic() < deadline:
        # It is the process of this job that holds the lock, so the number is its.
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.process.read_text())
            if pid > 1 and os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
        time.sleep(0.02)


def _is_running(folder: _folders.JobFolder) -> bool:
    try:
        with folder.running.open("r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def problem(code: int, folder: _folders.JobFolder) -> str:
    """Returns why a job failed, in words for its client: no path, no traceback."""
    if code < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"The process of the job was killed ({name}), perhaps out of memory."
    text = tail(folder.problems)
    _, found, message = text.rpartition("Error: ")
    message = message.partition("\n(--debug")[0].strip()
    if not found or not message or "Traceback (most recent" in text:
        return f"The job failed with exit code {code}; the log of the server says why."
    return without_folders(message[:_MAX_MESSAGE])


def tail(path: pathlib.Path) -> str:
    """Returns the end of a text file."""
    try:
        with path.open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return f.read().decode("utf-8", "replace")
    except OSError:
        return ""


def without_folders(text: str) -> str:
    """Returns a text in which absolute paths are names of files."""
    return _FOLDERS.sub("", text)
