"""TensorBoard event files, written synchronously in the calling thread.

The writer of tensorboardX sends each event through a pipe to a thread; if the disk is full
that thread ends, and later writes hang.

Format: https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto,
each event framed as a TFRecord: length, checksum of it, bytes, checksum of them.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

import crc32c
from etils import epath

from kauldron._base import shared_files
from kauldron.recording import _event_messages
from kauldron.workdir import json_lines

# Up to this many bytes of events wait in memory while the disk is full.
_MAX_WAITING_BYTES = 64 * 2**20


class EventFile:
    """One event file; made when the first event is added.

    Events that cannot be written wait in memory, up to 64 MiB; beyond that they are
    lost, which is raised and counted.

    Args:
      folder: Where it is; created if needed.
      purge_step: Readers drop what older files of the folder hold for this step and
        later ones.
    """

    def __init__(
        self, folder: epath.PathLike, *, purge_step: int | None = None
    ) -> None:
        self._folder = epath.Path(folder)
        self._is_remote = shared_files.is_remote(self._folder)
        self._file: Any = None
        self._num_lost = 0
        self._waiting: list[bytes] = []
        self._num_waiting_bytes = 0
        self._keep(_event_messages.version(time.time()))
        if purge_step is not None:
            self._keep(_event_messages.session_start(time.time(), purge_step))

    def add(self, step: int, values: Iterable[bytes], *, flush: bool = True) -> None:
        """Adds values (`_event_messages`, or other bytes of a `Summary.Value`) as one event.

        Args:
          step: Number of updates before it.
          values: What was measured.
          flush: Whether it is written now; else with the next one, or by `flush`.

        Raises:
          OSError: If it cannot be written now. It is kept, and written before the next.
          LostError: If it cannot be written and is lost: too many are waiting already.
        """
        event = _event_messages.measurements(time.time(), step, values)
        if self._num_waiting_bytes < _MAX_WAITING_BYTES:
            self._keep(event)
            if flush:
                self.flush()
            return
        try:
            self.flush()
        except OSError as e:
            self._num_lost += 1
            raise json_lines.LostError(
                f"TensorBoard events of {self._folder}: {_MAX_WAITING_BYTES:,} bytes wait "
                f"for the disk; further ones are lost until they can be written ({e})."
            ) from e
        self._keep(event)
        self.flush()

    def _keep(self, event: bytes) -> None:
        record = _record(event)
        self._waiting.append(record)
        self._num_waiting_bytes += len(record)

    @property
    def num_unwritten(self) -> int:
        """How many events are waiting to be written, or are lost."""
        return len(self._waiting) + self._num_lost

    def flush(self) -> None:
        """Writes the events that wait: all of them, or none."""
        if self._file is None:
            self._file = self._open()
        if not self._waiting:
            return
        events = b"".join(self._waiting)
        if self._is_remote:
            self._file.write(events)
        else:
            json_lines.write_whole(self._file, events)
        self._waiting, self._num_waiting_bytes = [], 0

    def close(self) -> None:
        """Writes waiting events and closes the file; it accepts no more after that."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()

    def _open(self) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Readers sort the files of a folder by name. Names count seconds: a restart
        # within one would overwrite the file.
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{now}"
        if self._is_remote:  # no appending there: written when it is closed
            return (self._folder / name).open("wb")
        return open(self._folder / name, "ab", buffering=0)


def _record(event: bytes) -> bytes:
    header = struct.pack("<Q", len(event))
    return header + _checksum(header) + event + _checksum(event)


def _checksum(content: bytes) -> bytes:
    """Returns the "masked" checksum of TFRecords: rotated, and a constant added."""
    value = crc32c.crc32c(content)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)
