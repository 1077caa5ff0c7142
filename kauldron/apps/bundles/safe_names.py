"""Names of files that somebody else has given: made safe for a disk."""

from __future__ import annotations

import pathlib
import re
import unicodedata

_MAX_NAME_BYTES = 200
# What some file system does not take.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


def safe_name(name: str) -> str:
    """Returns the name of a file that a client calls so, without folders.

    It is one of every file system, and hides nothing.
    """
    base = re.split(r"[/\\]", unicodedata.normalize("NFC", name).rstrip("/\\"))[-1]
    base = _UNSAFE.sub("_", base).strip(". ") or "file"
    stem, dot, suffix = base.partition(".")
    room = _MAX_NAME_BYTES - len(dot.encode()) - len(suffix.encode())
    if room < 1:
        return base.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix


def safe_path(name: str) -> pathlib.PurePosixPath:
    """Returns a relative path of safe names: that of a file in a folder."""
    parts = [p for p in re.split(r"[/\\]", name) if p not in ("", ".", "..")]
    return pathlib.PurePosixPath(*map(safe_name, parts or ["file"]))
