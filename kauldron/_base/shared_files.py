"""Atomic writes and locks for files that several processes read and write."""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Iterator

from etils import epath

# There is no such file; or what should be a folder on the way to it is a file.
MISSING = (FileNotFoundError, NotADirectoryError)


def file_on_the_way(folder: epath.Path) -> epath.Path | None:
    """Returns what is a file where a folder is to be: that itself, or one above it."""
    above = (folder, *folder.parents)
    return next((path for path in above if path.is_file()), None)


@contextlib.contextmanager
def replacing(path: epath.Path) -> Iterator[epath.Path]:
    """Yields a temporary name, which is renamed to `path` when the block succeeds.

    A reader sees the old or the new file, never a part.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: epath.Path, text: str) -> None:
    """Writes a file so that a reader sees the old or the new text, never a part."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def move_aside(path: epath.Path) -> epath.Path:
    """Moves something damaged aside for inspection; returns its new path."""
    for suffix in itertools.chain([""], (f".{i}" for i in itertools.count(1))):
        target = path.with_name(f"{path.name}.damaged{suffix}")
        if not target.exists():
            return path.rename(target)
    raise AssertionError("there are endless numbers")


def lock_of(path: epath.Path) -> epath.Path:
    """Returns the lock file of a file, separate so that the file can be replaced."""
    return path.with_name(f".{path.name}.lock")


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is in an object store, which has no locks and no appending."""
    return "://" in os.fspath(path)


def plain(path: epath.PathLike) -> epath.PathLike:
    """Returns a path on this machine as a string, which is opened fastest."""
    return path if is_remote(path) else os.fspath(path)


@contextlib.contextmanager
def exclusive(
    lock_file: epath.PathLike, *, blocking: bool = True, creates: bool = True
) -> Iterator[None]:
    """Keeps other processes and threads out of a block.

    The lock goes away with the process. Object stores have none: nothing is done there.

    Args:
      lock_file: Created if missing, and left there unless the holder removes it.
      blocking: Whether to wait until it is free.
      creates: Whether the file may be made, and be left there.

    Raises:
      BlockingIOError: If another process is inside, and `blocking` is off.
      FileNotFoundError: If there is no such file, and `creates` is off.
    """
    if is_remote(lock_file):
        yield
        return
    import fcntl

    while True:
        with open(lock_file, "w" if creates else "r+") as f:
            fcntl.flock(f, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
            if _is_at(lock_file, f.fileno()):
                yield  # closing the file unlocks it
                return


def _is_at(path: epath.PathLike, descriptor: int) -> bool:
    """Whether an open file still has its name: who held the lock may have removed it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
