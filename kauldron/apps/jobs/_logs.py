"""Follows what a job prints, from any byte on: a stream that broke off goes on there."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncGenerator, Callable

_POLL_SECS = 0.1
_READ_BYTES = 2**16


async def follow(
    path: pathlib.Path, after: int, is_active: Callable[[], bool]
) -> AsyncGenerator[list[tuple[int, str]], None]:
    """Yields lines of a file that grows, until its job has ended and all is read.

    Args:
      path: The file, which need not be there yet.
      after: The byte to begin at: what came with the last line that was seen.
      is_active: Whether more may come.

    Yields:
      Some lines, each with the byte behind it.
    """
    offset = min(after, path.stat().st_size) if path.exists() else 0
    while True:
        may_grow = is_active()  # asked first: what came before the end is read
        data = _read(path, offset)
        lines, used = _lines(data, offset, is_last=not may_grow)
        offset += used
        if lines:
            yield lines
        elif not may_grow and len(data) == used:
            return
        else:
            await asyncio.sleep(_POLL_SECS)


def _read(path: pathlib.Path, offset: int) -> bytes:
    try:
        with path.open("rb") as f:
            f.seek(offset)
            return f.read(_READ_BYTES)
    except FileNotFoundError:
        return b""


def _lines(
    data: bytes, offset: int, *, is_last: bool
) -> tuple[list[tuple[int, str]], int]:
    """Returns the whole lines, and how many bytes they are."""
    pieces = data.split(b"\n")
    rest = pieces.pop()
    found, used = [], 0
    for piece in pieces:
        used += len(piece) + 1
        found.append((offset + used, _text(piece)))
    # The last line may lack its end, and one may be longer than what is read at once.
    is_too_long = not found and len(rest) == _READ_BYTES
    if rest and (is_too_long or (is_last and len(data) < _READ_BYTES)):
        used += len(rest)
        found.append((offset + used, _text(rest)))
    return found, used


def _text(line: bytes) -> str:
    # A progress bar goes back to the start of its line: its last state is what is seen.
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
