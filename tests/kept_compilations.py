"""Programs that XLA has compiled for the tests, kept from session to session.

A session has a folder of its own, which JAX reads and writes; what is whole in it at the
end is kept. JAX does not write its entries at once, and some tests end their processes by
force: half an entry must not stay for the next session.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
import zlib

# Programs that no test needs any more are forgotten. All others are compiled anew then.
_MAX_AGE_DAYS = 7


def open_session(kept: pathlib.Path) -> pathlib.Path:
    """Returns a new folder that has all entries of `kept`, as links beside it."""
    kept.mkdir(parents=True, exist_ok=True)
    _forget(kept, older_than=time.time() - _MAX_AGE_DAYS * 24 * 3600)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="session-", dir=kept))
    for entry in _entries(kept):
        _link(entry, folder)
    return folder


def close_session(folder: pathlib.Path, kept: pathlib.Path) -> None:
    """Keeps the new entries of a session, and removes its folder."""
    known = {entry.name for entry in _entries(kept)}
    for entry in _entries(folder):
        if entry.name not in known and _is_whole(entry):
            _link(entry, kept)
    shutil.rmtree(folder, ignore_errors=True)


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    return list(folder.glob("*-cache"))


def _link(entry: pathlib.Path, folder: pathlib.Path) -> None:
    # Another session may have kept the same program, or forgotten it.
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.link(entry, folder / entry.name)


def _is_whole(entry: pathlib.Path) -> bool:
    """Where JAX compresses by another library, nothing is kept."""
    try:
        zlib.decompress(entry.read_bytes())
    except zlib.error:
        return False
    return True


def _forget(kept: pathlib.Path, *, older_than: float) -> None:
    """Removes entries, and what sessions that were killed have left."""
    for path in kept.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another session forgets, too
            if path.stat().st_mtime >= older_than:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
