"""Checksums of a checkpoint: written before it is committed, verified when it is read.

`checksums.json` lies in the folder of a step. It is written into the temporary folder,
before Orbax renames it: a checkpoint of ours always has one. Checkpoints written by
other programs have none; they can be read, but not verified.

A file has its CRC-32C: it misses no damage of up to 32 bits in a row, one in 2^32 of
others, and is computed as fast as memory is read. SHA-256, which earlier versions have
written and which is compared where it is there, took as long as the reading of arrays.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import crc32c
from etils import epath

from kauldron._base import shared_files
from kauldron.checkpoints import _layout

FILE = "checksums.json"
# Kind of checksum of a file -> what computes it.
_CRC, _SHA = "crc32c", "sha256"
_KINDS: dict[str, Callable[[], Any]] = {
    _CRC: crc32c.CRC32CHash,
    _SHA: hashlib.sha256,
}
_OF_ALL = _SHA  # of the entries
# Orbax writes them after the checksums, or not at all; nothing is read from them.
_NOT_COVERED = {FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}
# Fits the cache of a core, so that what was read is still there when it is summed up.
_CHUNK_BYTES = 1 << 18
_SMALL_BYTES = 1 << 20
_MAX_THREADS = 8


def write(folder: epath.Path) -> None:
    """Writes the checksums of all files of a step."""
    _write(folder, _map(_describe, _covered(folder)))


def add(folder: epath.Path, names: Iterable[str]) -> None:
    """Adds files that came later to the checksums of a step, if it has any."""
    if not (folder / FILE).exists():
        return
    files = json.loads((folder / FILE).read_text())["files"]
    _write(folder, files | _map(_describe, {name: folder / name for name in names}))


def _write(folder: epath.Path, files: Mapping[str, Any]) -> None:
    content = {"files": files, _OF_ALL: _hash_json(files)}
    with shared_files.replacing(folder / FILE) as part:
        part.write_text(json.dumps(content, indent=1))


def find_damage(folder: epath.Path, *, sizes_only: bool = False) -> list[str] | None:
    """Compares all files with their checksums.

    Args:
      folder: Folder of the step.
      sizes_only: Whether only the sizes are compared, which reads nothing.

    Returns:
      `"<file>: <what is wrong>"` for each bad file, `None` if there are no checksums.
    """
    with Verification(folder, sizes_only=sizes_only) as verification:
        return verification.problems()


class Verification:
    """Compares all files of a step with their checksums, large ones in threads.

    Small files have been compared when this object is made: whoever reads the step can
    rely on its structure, and learns of the contents of arrays from `problems`.

    Args:
      folder: Folder of the step.
      sizes_only: Whether only the sizes are compared, which reads nothing.
    """

    def __init__(self, folder: epath.Path, *, sizes_only: bool = False) -> None:
        self._known: list[str] | None = None
        self._pool = concurrent.futures.ThreadPoolExecutor(_MAX_THREADS)
        self._pending: dict[str, concurrent.futures.Future[str | None]] = {}
        if not (folder / FILE).exists():
            return
        try:
            content = json.loads((folder / FILE).read_text())
            expected = content["files"]
            if content[_OF_ALL] != _hash_json(expected):
                self._known = [f"{FILE}: its content has changed"]
                return
        except (OSError, ValueError, KeyError, TypeError) as e:
            self._known = [f"{FILE}: cannot be read ({_why(e)})"]
            return
        self._known = []
        compare = _Comparison(expected, sizes_only=sizes_only)
        smallest_first = sorted(expected, key=lambda name: expected[name]["bytes"])
        for name in smallest_first:
            if expected[name]["bytes"] > _SMALL_BYTES:
                self._pending[name] = self._pool.submit(compare, name, folder / name)
            elif problem := compare(name, folder / name):
                self._known.append(f"{name}: {problem}")

    def known_problems(self) -> list[str]:
        """Returns what is known to be wrong so far, of small files."""
        return sorted(self._known or [])

    def problems(self) -> list[str] | None:
        """Waits; returns what `find_damage` does."""
        if self._known is None:
            return None
        for name, pending in self._pending.items():
            if problem := pending.result():
                self._known.append(f"{name}: {problem}")
        self._pending = {}
        return sorted(self._known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Comparison:
    """Says what is wrong with a file, `None` if nothing is."""

    def __init__(
        self, expected: Mapping[str, Mapping[str, Any]], *, sizes_only: bool
    ) -> None:
        self._expected = expected
        self._sizes_only = sizes_only

    def __call__(self, name: str, path: epath.Path) -> str | None:
        expected = self._expected[name]
        try:
            if not path.exists():
                return "is missing"
            if self._sizes_only:
                found = {**expected, "bytes": path.stat().length}
            else:
                kind = _SHA if _SHA in expected else _CRC
                found = _describe(name, path, kind=kind)
        except OSError as e:
            return f"cannot be read ({_why(e)})"
        if found["bytes"] != expected["bytes"]:
            return f"has {found['bytes']} bytes, {expected['bytes']} were written"
        return None if found == expected else "its content has changed"


def _covered(folder: epath.Path) -> dict[str, epath.Path]:
    return {
        name: path
        for name, path in _layout.all_files(folder).items()
        if path.name not in _NOT_COVERED
    }


def _map(
    function: Callable[[str, epath.Path], Any], files: Mapping[str, epath.Path]
) -> dict[str, Any]:
    with concurrent.futures.ThreadPoolExecutor(_MAX_THREADS) as pool:
        return dict(zip(files, pool.map(function, files, files.values()), strict=True))


def _describe(name: str, path: epath.Path, *, kind: str = _CRC) -> dict[str, Any]:
    """Returns the entry of a file."""
    del name
    checksum, num_bytes = _KINDS[kind](), 0
    with path.open("rb") as f:
        while chunk := f.read(_CHUNK_BYTES):
            checksum.update(chunk)
            num_bytes += len(chunk)
    return {"bytes": num_bytes, kind: checksum.hexdigest()}


def _hash_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _why(e: Exception) -> str:
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
