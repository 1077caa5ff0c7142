"""The roll call of the processes of a run: who is there, and who is missing.

JAX does not say while it waits. Each process holds a locked file in the workdir, which
all of them can read; the lock goes away with the process. Object stores have no locks:
there, nobody is missed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence

from etils import epath

from kauldron._base import processes, shared_files

_FOLDER = ".processes"
# Begins the names of files that say which folders a process has made.
_MADE = "made_by_"
# Begins the names of files by which process 0 tells the others something.
_TOLD = "told_"
# One that is about to end, or that is asked for by another one, lets go of its lock soon.
_RETRY_SECS = 3.0


@dataclasses.dataclass(frozen=True)
class Expected:
    """Which process this is, as far as it is known before they meet.

    Attributes:
      address: `HOST:PORT` where they meet.
      index: Of this process.
      count: Of all processes.
    """

    address: str | None
    index: int | None
    count: int | None

    def __str__(self) -> str:
        if self.index is None:
            return "A process of several"
        return f"Process {self.index} of {self.count or 'several'}"


@contextlib.contextmanager
def present(expected: Expected, workdir: epath.PathLike | None) -> Iterator[RollCall]:
    """Holds the place of this process in the workdir; see `RollCall`.

    Raises:
      ProcessesError: If another process is there with the same index.
    """
    has_locks = workdir is not None and not shared_files.is_remote(workdir)
    if workdir is None or not has_locks or expected.index is None:
        yield RollCall(expected, None)
        return
    folder = epath.Path(os.path.abspath(workdir)) / _FOLDER
    with contextlib.ExitStack() as stack:
        roll_call = RollCall(expected, folder)
        try:
            roll_call.enter(stack)
        except OSError:  # cannot be written, or not locked: the run itself will say so
            roll_call = RollCall(expected, None)
        stack.callback(roll_call.leave)
        yield roll_call


class RollCall:
    """Who is there of the processes of a run.

    Args:
      expected: This process.
      folder: Where each holds its file; `None`: nothing is known.
    """

    def __init__(self, expected: Expected, folder: epath.Path | None) -> None:
        self._expected = expected
        self._folder = folder
        self._seen: set[object] = set()

    def enter(self, stack: contextlib.ExitStack) -> None:
        """Holds the file of this process until the stack is left."""
        assert self._folder is not None
        folders = (self._folder, *self._folder.parents)
        made = [os.fspath(path) for path in folders if not path.exists()]
        self._folder.mkdir(parents=True, exist_ok=True)
        # Who leaves last removes them, and that may be another one.
        note = self._folder / f"{_MADE}{uuid.uuid4().hex}"
        note.write_text(json.dumps(made))
        path = self._folder / str(self._expected.index)
        until = time.monotonic() + _RETRY_SECS
        while True:
            try:
                stack.enter_context(
                    shared_files.exclusive(shared_files.lock_of(path), blocking=False)
                )
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise processes.ProcessesError(self._taken(path)) from None
                time.sleep(0.1)
        about = dataclasses.asdict(self._expected)
        about |= {"host": socket.gethostname(), "pid": os.getpid()}
        path.write_text(json.dumps(about))

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self._expected.index == 0

    def is_with_first(self) -> bool:
        """Whether process 0 is this one, or is there, on this machine."""
        if self._folder is None:
            return False
        path = self._folder / "0"
        is_here = _read(path).get("host") == socket.gethostname()
        return self.is_first or (is_here and _is_held(path))

    @property
    def start_name(self) -> str:
        """What distinguishes this start of the run from earlier ones."""
        return str(self._expected.address).rpartition(":")[2]

    def tell(self, what: str) -> bool:
        """Lets the others know something; returns whether they will."""
        try:
            self._told(what).touch()
        except OSError:  # a full disk
            return False
        return True

    def is_told(self, what: str) -> bool:
        """Whether process 0 has told it."""
        return self._told(what).exists()

    def _told(self, what: str) -> epath.Path:
        assert self._folder is not None
        # Of this start: what an earlier one has told may still be there.
        return self._folder / f"{_TOLD}{self.start_name}_{what}"

    def leave(self) -> None:
        """Removes what `enter` has made, as far as it is not in use."""
        if self._folder is None:
            return
        path = self._folder / str(self._expected.index)
        for file in (path, shared_files.lock_of(path)):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError, ValueError):  # another one comes, or does it
            notes = list(self._folder.iterdir())
            if any(not note.name.startswith((_MADE, _TOLD)) for note in notes):
                return  # others are there
            made = [
                json.loads(note.read_text())
                for note in notes
                if note.name.startswith(_MADE)
            ]
            for note in notes:
                note.unlink(missing_ok=True)
            _remove_empty(max(made, key=len, default=[]))

    def _taken(self, path: epath.Path) -> str:
        other = _read(path)
        return (
            f"{self._expected} is there already: {other.get('pid', 'a process')} on "
            f"{other.get('host', 'some machine')}, with the same workdir. Give each process "
            "an index of its own; if it is left over from an earlier start, end it first."
        )

    def conflict(self) -> str | None:
        """Returns in what another process contradicts this one, if one does."""
        mine = self._expected
        for other in self._others():
            index = other.get("index")
            for name in ("count", "address"):
                theirs, ours = other.get(name), getattr(mine, name)
                if theirs != ours:
                    return (
                        f"Process {mine.index} was told {name} {ours!r}, process {index} "
                        f"{name} {theirs!r}: it must be the same in all."
                    )
        return None

    def describe_absence(self) -> str | None:
        """Returns who has not come, and who is gone again; `None`: not known."""
        mine = self._expected
        if self._folder is None or mine.count is None:
            return None
        there = {mine.index, *(other.get("index") for other in self._others())}
        self._seen |= there
        missing = [i for i in range(mine.count) if i not in self._seen]
        gone = [i for i in range(mine.count) if i in self._seen - there]
        told = [_name(missing)] if missing else []
        if gone:
            told.append(f"{_name(gone)}, gone again")
        return " and ".join(told)

    def _others(self) -> Iterator[dict[str, object]]:
        if self._folder is None:
            return
        for path in sorted(self._folder.iterdir()):
            is_other = path.name.isdigit() and path.name != str(self._expected.index)
            if is_other and _is_held(path):
                about = _read(path)
                if about:
                    yield about


def _name(indices: Sequence[int]) -> str:
    some = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
    return f"process {some}" if len(indices) == 1 else f"processes {some}"


def _remove_empty(folders: Sequence[str]) -> None:
    """Removes folders, each in the next one, up to one that is not empty."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.rmdir(folder)


def _is_held(path: epath.Path) -> bool:
    lock_file = shared_files.lock_of(path)
    try:
        with shared_files.exclusive(lock_file, blocking=False, creates=False):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _read(path: epath.Path) -> dict[str, object]:
    """Returns what the file of a process says: nothing, if it has just been made."""
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
