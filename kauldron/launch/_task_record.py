"""The record of a task: one file that says where it is, for every process that asks.

```text
{"token": "9f…", "state": "starting", "starter": 41, "host": "a"}
{"token": "9f…", "state": "running", "pid": 42, …}
{"token": "9f…", "state": "over", "exit_code": 0, …}
```

Each start has a token of its own. Whoever is to run a task claims it first: that succeeds
once, and only for the newest start. Who runs it holds a lock until the end, which the
system takes back when the process dies: nothing depends on clocks, or on process ids that
may be given again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

from etils import epath

from kauldron._base import process_signals, shared_files
from kauldron.launch._backend import Handle, State, Status

# Who looks whether a lock is held has it for an instant.
_NUM_TRIES = 40
_TRY_AGAIN_SECS = 0.05


class TaskRecord:
    """The record of a task.

    Args:
      path: The file.
    """

    def __init__(self, path: epath.PathLike) -> None:
        self._path = epath.Path(path)

    def read(self) -> dict[str, Any] | None:
        """Returns its content; `None` if the task was never started, or it is damaged."""
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and "token" in content else None

    def start(self, backend: str, **facts: Any) -> Handle:
        """Writes that a task is about to be started; earlier starts count no more."""
        token = uuid.uuid4().hex
        with self._changing():
            before = self.read() or {}
            self._write(
                {
                    "backend": backend,
                    "token": token,
                    "state": "starting",
                    "num_starts": before.get("num_starts", 0) + 1,
                    "starter": os.getpid(),
                    "host": socket.gethostname(),
                    "started": time.time(),
                    **facts,
                }
            )
        return {"backend": backend, "record": os.fspath(self._path), "token": token}

    def find(self) -> Handle | None:
        """Returns the handle of the last start."""
        content = self.read()
        if content is None:
            return None
        path, token = os.fspath(self._path), content["token"]
        return {"backend": content.get("backend"), "record": path, "token": token}

    @contextlib.contextmanager
    def claimed(self, token: str) -> Iterator[bool]:
        """Claims a task for this process, which runs it inside the block.

        Yields:
          Whether the task is this process's to run: it was neither started again
          meanwhile, nor stopped, and nobody runs it.
        """
        with contextlib.ExitStack() as stack:
            for _ in range(_NUM_TRIES):
                try:
                    lock = shared_files.exclusive(self._running_lock, blocking=False)
                    stack.enter_context(lock)
                    break
                except BlockingIOError:  # perhaps held by who has only looked
                    time.sleep(_TRY_AGAIN_SECS)
            else:
                self._update(token, {"state": "over"}, when="starting")
                yield False
                return
            yield self._to_running(token)

    def end(self, token: str, exit_code: int) -> None:
        """Writes how the run ended; for the process that has claimed it."""
        facts = {"state": "over", "exit_code": exit_code, "ended": time.time()}
        self._update(token, facts)

    def status(self, token: str) -> Status:
        """Returns where the task of a start is."""
        content = self._read_start(token)
        if content and content["state"] == "running":
            if self._is_held():
                return Status(State.RUNNING)
            content = self._read_start(token)  # perhaps it has ended meanwhile
        if content is None:
            return Status(State.LOST, reason="it was started again")
        if content["state"] == "starting":
            return self._status_of_start(content)
        if content["state"] == "over":
            code = content.get("exit_code")
            return Status(State.STOPPED if code is None else State.DONE, code)
        if content.get("was_stopped"):
            return Status(State.STOPPED)
        return Status(State.LOST, reason="its process is gone")

    def _read_start(self, token: str) -> dict[str, Any] | None:
        """Returns the content if it is that of this start."""
        content = self.read()
        return content if content and content["token"] == token else None

    def _status_of_start(self, content: dict[str, Any]) -> Status:
        """Nobody else can tell whether who starts it still will: as long as it lives."""
        is_here = content["host"] == socket.gethostname()
        if is_here and not process_signals.is_alive(content["starter"]):
            return Status(State.LOST, reason="who was to start it is gone")
        return Status(State.PENDING)

    def stop(self, token: str) -> None:
        """Sends SIGTERM to the process that runs it; takes it back if nobody does yet."""
        with self._changing():
            content = self.read()
            if content is None or content["token"] != token:
                return
            if content["state"] == "starting":
                self._write({**content, "state": "over", "ended": time.time()})
            elif content["state"] == "running":
                self._write({**content, "was_stopped": True})
        is_running = content["state"] == "running" and self._is_held()
        if is_running and content["host"] == socket.gethostname():
            with contextlib.suppress(ProcessLookupError):
                os.kill(content["pid"], signal.SIGTERM)

    def _to_running(self, token: str) -> bool:
        facts = {"state": "running", "pid": os.getpid(), "host": socket.gethostname()}
        return self._update(token, facts, when="starting")

    def _update(self, token: str, facts: dict[str, Any], when: str = "running") -> bool:
        with self._changing():
            content = self.read()
            if content is None or (content["token"], content["state"]) != (token, when):
                return False
            self._write({**content, **facts})
            return True

    def _is_held(self) -> bool:
        try:
            with shared_files.exclusive(self._running_lock, blocking=False):
                return False
        except BlockingIOError:
            return True

    @property
    def _running_lock(self) -> epath.Path:
        return self._path.with_name(f".{self._path.name}.running")

    def _changing(self) -> contextlib.AbstractContextManager[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return shared_files.exclusive(shared_files.lock_of(self._path))

    def _write(self, content: dict[str, Any]) -> None:
        shared_files.write_atomically(self._path, json.dumps(content, indent=2))
