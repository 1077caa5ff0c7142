"""Fingerprints of data: two that are the same mean the same content under the same names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from kauldron._base import shared_files

_CHUNK = 2**20


def fingerprint(path: str) -> str:
    """Returns the fingerprint of a file or a folder; empty of a URL.

    Raises:
      OSError: If it cannot be read.
    """
    if shared_files.is_remote(path):
        return ""
    if not os.path.isdir(path):
        return f"sha256:{_of_file(path)}"
    digest = hashlib.sha256()
    for name in _files(path):
        of_file = _of_file(os.path.join(path, name))
        digest.update(f"{of_file} {name}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def _files(folder: str) -> Iterator[str]:
    """Yields the names of all files, sorted, as they are from the folder on."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield os.path.relpath(os.path.join(path, name), folder)


def _of_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
