"""Volumes that are folders: written beside, renamed when complete; paths inside of them."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder, which is renamed to `path` when the block succeeds.

    A reader sees the old or the new folder, or for a moment none, but never a part.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    old = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.old")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def split(path: pathlib.Path, suffixes: tuple[str, ...]) -> tuple[pathlib.Path, str]:
    """Returns a file and the name inside of it: `all.h5/case_1/ct` has both."""
    for parent in (path, *path.parents):
        if parent.name.lower().endswith(suffixes):
            return parent, path.relative_to(parent).as_posix().removeprefix(".")
    return path, ""
