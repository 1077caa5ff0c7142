"""Folders of a server: its state, one folder a job, what is being uploaded."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

from etils import epath

from kauldron._base import errors, shared_files
from kauldron.apps.jobs import _table

# A file system in memory, where Linux has one; how much of it is left to others.
_MEMORY = pathlib.Path("/dev/shm")
_PREFIX = "kauldron_apps_"
_MEMORY_LEFT_BYTES = 2**25


class StateDirError(errors.UserError, OSError):
    """A server cannot have its state directory."""


class JobFolder:
    """The folder of a job, or of a worker.

    Attributes:
      path: The folder.
      inputs: Files that the client sent: `inputs/PORT/NAME`.
      out: What the job gives.
      log: What it prints for its client.
      problems: What it prints for who runs the server: tracebacks.
      running: Locked by the process of the job while it lives.
      process: The id of that process.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.inputs = path / "inputs"
        self.out = path / "out"
        self.log = path / "log.txt"
        self.problems = path / "problems.txt"
        self.running = path / "running.lock"
        self.process = path / "process"

    def results(self) -> list[tuple[str, pathlib.Path]]:
        """Returns what the job gave, by name with `/`, sorted; no links."""
        found = []
        for folder, _, names in os.walk(self.out):
            for name in names:
                file = pathlib.Path(folder, name)
                if file.is_file() and not file.is_symlink():
                    found.append((file.relative_to(self.out).as_posix(), file))
        return sorted(found)

    def remove_results(self) -> None:
        """Removes what the job gave, or a part of it."""
        shutil.rmtree(self.out, ignore_errors=True)

    def remove(self) -> None:
        """Removes it; what cannot be removed stays."""
        shutil.rmtree(self.path, ignore_errors=True)


class StateDir:
    """The directory in which a server keeps what it has to know after a restart.

    Args:
      path: Made if it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path).absolute()
        self.table = self.path / "jobs.sqlite"
        self._jobs = self.path / "jobs"
        self._uploads = self.path / "uploads"
        self._workers = self.path / "workers"
        self._memory = self.path / "memory"

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Owns the directory inside a block; the lock goes away with the process.

        Raises:
          StateDirError: If another server has it, or it cannot be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                for folder in (self.path, self._jobs, self._uploads):
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = epath.Path(self.path / "server.lock")
                stack.enter_context(shared_files.exclusive(lock, blocking=False))
            except BlockingIOError:
                raise StateDirError(
                    f"Another server has the state directory {str(self.path)!r}: stop "
                    "it, or choose another with `--state=DIR`."
                ) from None
            except OSError as error:
                raise StateDirError(
                    f"The state directory {str(self.path)!r} cannot be used: "
                    f"{error.strerror}. Choose another with `--state=DIR`."
                ) from None
            stack.enter_context(self._with_memory())
            yield

    @contextlib.contextmanager
    def _with_memory(self) -> Iterator[None]:
        """Has a folder in memory inside a block, if there can be one."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                _sweep_memory()
                self._memory.unlink(missing_ok=True)
                folder = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_MEMORY))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                stack.enter_context(_locked(folder))
                self._memory.symlink_to(folder)
                stack.callback(self._memory.unlink, missing_ok=True)
            yield

    def job(self, job_id: str) -> JobFolder:
        """Returns the folder of a job, which need not be there."""
        return JobFolder(self._jobs / job_id)

    def worker(self, app: str) -> JobFolder:
        """Returns the folder of the worker of a warm app, which need not be there."""
        return JobFolder(self._workers / app)

    def workers(self) -> list[JobFolder]:
        """Returns the folders of all workers that there ever were."""
        return [JobFolder(path) for path in self._workers.glob("*")]

    @contextlib.asynccontextmanager
    async def upload(
        self, *, is_small: bool = False, in_memory: bool = False
    ) -> AsyncIterator[JobFolder]:
        """Yields an empty folder; unless it is kept, it is gone after the block.

        Args:
          is_small: Whether it is removed at once, and not in a thread meanwhile.
          in_memory: Whether it is better in memory, if there is room.
        """
        place = self._memory if in_memory and self._has_memory() else self._uploads
        folder = JobFolder(place / secrets.token_hex(6))
        folder.path.mkdir()
        folder.inputs.mkdir()
        try:
            yield folder
        finally:
            if is_small:
                folder.remove()
            elif folder.path.exists():
                await asyncio.shield(asyncio.to_thread(folder.remove))
            if place == self._memory:  # it may have been moved
                JobFolder(self._uploads / folder.path.name).remove()

    def on_disk(self, upload: JobFolder) -> JobFolder:
        """Returns an uploaded folder with its inputs on the disk, where it was or not."""
        if upload.path.parent != self._memory:
            return upload
        moved = JobFolder(self._uploads / upload.path.name)
        try:
            shutil.copytree(upload.inputs, moved.inputs)
        except BaseException:
            moved.remove()
            raise
        upload.remove()
        return moved

    def keep(self, upload: JobFolder) -> tuple[str, JobFolder]:
        """Makes an uploaded folder that of a job; returns the id of the job."""
        job_id = upload.path.name
        self.on_disk(upload).path.rename(self._jobs / job_id)
        return job_id, self.job(job_id)

    def _has_memory(self) -> bool:
        try:
            return shutil.disk_usage(self._memory).free > _MEMORY_LEFT_BYTES
        except OSError:  # there is none
            return False

    def sweep(self, table: _table.JobTable) -> None:
        """Removes what belongs to no job: of a server that was killed.

        A folder becomes that of a job before its row is written, and goes after it.
        """
        for upload in self._uploads.iterdir():
            shutil.rmtree(upload, ignore_errors=True)
        known = table.ids()
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def free_bytes(self) -> int:
        """Returns how much can be written."""
        return shutil.disk_usage(self.path).free


def _sweep_memory() -> None:
    """Removes what servers of this user that were killed have left in memory."""
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # of a server that lives
            if folder.lstat().st_uid == os.getuid():
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Locks a folder; raises `BlockingIOError` if another process has.

    The lock goes away with the process.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def default_state_dir() -> pathlib.Path:
    """Returns where a server keeps its state: `~/.cache/kauldron/apps`."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "kauldron" / "apps"
