"""TensorBoard event files, written synchronously in the calling thread.

The writer of tensorboardX sends each event through a pipe to a thread; if the disk is full
that thread ends, and later writes hang. We use only its messages and its checksums.

Format: https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto,
each event framed as a TFRecord: length, checksum of it, bytes, checksum of them.
"""

from __future__ import annotations

import functools
import importlib
import io
import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import shared_files
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
        self._keep(_event(file_version="brain.Event:2"))
        if purge_step is not None:
            self._keep(_event(step=purge_step, session_log={"status": "START"}))

    def add(self, step: int, values: Iterable[Any], *, flush: bool = True) -> None:
        """Adds `Summary.Value` messages as one event.

        Args:
          step: Number of updates before it.
          values: The messages.
          flush: Whether it is written now; else with the next one, or by `flush`.

        Raises:
          OSError: If it cannot be written now. It is kept, and written before the next.
          LostError: If it cannot be written and is lost: too many are waiting already.
        """
        event = _event(step=step, summary={"value": list(values)})
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
        self._waiting.append(event)
        self._num_waiting_bytes += len(event)

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


def scalar(name: str, value: float) -> Any:
    """Returns a number as a message."""
    return _value(tag=name, simple_value=value)


def encoded_image(name: str, content: bytes, shape: tuple[int, ...]) -> Any:
    """Returns the content of a PNG or GIF file as a message; `shape` is `(h, w, c)`."""
    height, width, channels = shape
    return _value(
        tag=name,
        image={
            "height": height,
            "width": width,
            "colorspace": channels,
            "encoded_image_string": content,
        },
    )


def audio(name: str, samples: np.ndarray, sample_rate: int) -> Any:
    """Returns sound, `f32[t channels]` in [-1, 1], as a message."""
    import wave

    num_samples, num_channels = samples.shape
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(num_channels)
        wav.setsampwidth(2)
        wav.setframerate(sample_rate)
        wav.writeframes(
            np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        )
    return _value(
        tag=name,
        audio={
            "sample_rate": sample_rate,
            "num_channels": num_channels,
            "length_frames": num_samples,
            "encoded_audio_string": file.getvalue(),
            "content_type": "audio/wav",
        },
    )


def _value(**fields: Any) -> Any:
    return _messages("summary").Summary.Value(**fields)


@functools.cache
def _messages(name: str) -> Any:
    # Protocol buffers make their classes when they are imported.
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")


def _event(**fields: Any) -> bytes:
    from tensorboardX import record_writer

    data = _messages("event").Event(wall_time=time.time(), **fields).SerializeToString()
    header = struct.pack("<Q", len(data))
    checksums = [
        struct.pack("<I", record_writer.masked_crc32c(x)) for x in (header, data)
    ]
    return header + checksums[0] + data + checksums[1]
