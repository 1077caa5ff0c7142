"""Files that several processes read and write: replaced whole, changed one at a time."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

from etils import epath


def write_atomically(path: epath.Path, text: str) -> None:
    """Writes a file so that a reader sees the old or the new text, never a part."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def exclusive(path: epath.Path, *, blocking: bool = True) -> Iterator[None]:
    """Keeps other processes out of a block; the lock goes away with the process.

    Args:
      path: What is protected; the lock is the file `.<name>.lock` beside it, so that the
        file itself can be replaced. Object stores have no locks: nothing is done there.
      blocking: Whether to wait for the other process.

    Raises:
      BlockingIOError: If another process is inside, and `blocking` is off.
    """
    if "://" in os.fspath(path):
        yield
        return
    import fcntl

    with path.with_name(f".{path.name}.lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        yield
