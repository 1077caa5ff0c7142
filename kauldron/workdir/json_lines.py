"""JSON-lines files that several processes append to and rewind.

A line is one record: `{"step": ..., "collection": ..., name: value, ...}`. This module
owns how a file changes: a lock file makes appending and rewinding mutually exclusive,
also between a training process and the evaluators beside it, and a line is written
completely or not at all. Reading needs no lock, and writes nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeAlias

from etils import epath

from kauldron._base import shared_files

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"

Number: TypeAlias = float | int | bool

# Up to this many records per file wait in memory while the disk is full.
_MAX_WAITING = 10_000

_ENCODER = json.JSONEncoder(allow_nan=False)


class LostError(OSError):
    """Records that can neither be written now nor wait in memory."""


class RecordFile:
    """A file of records.

    What cannot be written waits in memory, 10,000 records at most; those beyond it are
    lost, which is raised and counted.

    Args:
      path: Where it is; created with the first record.
    """

    def __init__(self, path: epath.PathLike) -> None:
        self._path = epath.Path(path)
        # Plain paths: those of etils cost more than the system calls they are for.
        self._file = shared_files.plain(path)
        self._lock = shared_files.plain(shared_files.lock_of(self._path))
        self._waiting: list[str] = []
        self._num_lost = 0

    @property
    def num_unwritten(self) -> int:
        """How many records wait to be written, or are lost."""
        return len(self._waiting) + self._num_lost

    def append(
        self,
        step: int,
        collection: str,
        values: Mapping[str, Number | list[Any]],
        *,
        flush: bool = True,
    ) -> None:
        """Adds a record; NaN and infinities become strings.

        Args:
          step: Number of updates before it.
          collection: Who has measured it.
          values: Name -> number, or a list of them.
          flush: Whether it is written now; else with the next one, or by `flush`.

        Raises:
          OSError: If it cannot be written now. It is kept, and written before the next.
          LostError: If it cannot be written, and is lost: too many wait already.
        """
        line = to_line(step, collection, values)
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(line)
            if flush:
                self.flush()
            return
        try:
            self.flush()
        except OSError as e:
            self._num_lost += 1
            raise LostError(
                f"{self._path.name}: {_MAX_WAITING:,} records wait for the disk; "
                f"further ones are lost until they can be written ({e})."
            ) from e
        self._waiting.append(line)
        self.flush()

    def flush(self) -> None:
        """Writes what could not be written before.

        Raises:
          OSError: If that is still impossible.
        """
        if self._waiting:
            with shared_files.exclusive(self._lock):
                append_text(self._file, "".join(self._waiting))
            self._waiting = []

    def rewind(self, step: int, collection: str) -> None:
        """Removes the records of a collection for `step` and later ones."""
        self._waiting = [x for x in self._waiting if _is_kept(x, step, collection)]
        if not self._path.exists():
            return
        with shared_files.exclusive(shared_files.lock_of(self._path)):
            lines = self._path.read_text().splitlines()
            kept = [x + "\n" for x in lines if _is_kept(x, step, collection)]
            if len(kept) < len(lines):
                shared_files.write_atomically(self._path, "".join(kept))


def to_line(
    step: int, collection: str, values: Mapping[str, Number | list[Any]]
) -> str:
    """Returns the line of a record; NaN and infinities become strings."""
    record = {"step": step, "collection": collection}
    record |= {name: _to_json(value) for name, value in values.items()}
    return _ENCODER.encode(record) + "\n"


def read(path: epath.PathLike) -> list[dict[str, Any]]:
    """Returns the records of a file; one that is, or was left, half written is left out.

    Nothing is locked, as a reader may have no right to write: whole lines are appended,
    a part of a line is no JSON, and a rewound file replaces the one that is being read.
    """
    lines = epath.Path(path).read_text().splitlines()
    return [record for x in lines if (record := _parse(x)) is not None]


def append_text(path: epath.PathLike, text: str) -> None:
    """Appends whole lines, or nothing."""
    if shared_files.is_remote(path):
        with epath.Path(path).open("a") as f:
            f.write(text)
        return
    with open(path, "ab+", buffering=0) as f:
        f.truncate(_end_of_last_line(f))  # what a killed process left half
        write_whole(f, text.encode())


def write_whole(f: BinaryIO, data: bytes) -> None:
    """Appends to a file that is not buffered: all of the bytes, or none.

    Raises:
      OSError: If the disk is full, or the file cannot be written for another reason.
    """
    end = f.seek(0, os.SEEK_END)
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[f.write(rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            f.truncate(end)
        raise


def _end_of_last_line(f: BinaryIO) -> int:
    end = f.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - 4096)
        f.seek(start)
        newline = f.read(position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def _is_kept(line: str, step: int, collection: str) -> bool:
    record = _parse(line)
    return record is not None and (
        record.get("collection") != collection or record.get("step", 0) < step
    )


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _to_json(value: Number | list[Any]) -> float | str | list[Any]:
    if isinstance(value, list):
        return [_to_json(v) for v in value]
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
