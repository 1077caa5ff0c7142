"""Messages of TensorBoard event files, as bytes.

Written by hand: the messages of tensorboardX come with all of it, and with clients of
clouds where those are installed (botocore, urllib3). That took a tenth of a second of
each start, between the first step and the line that tells it.

Format: `event.proto`, `summary.proto`, `tensor.proto` and `plugin_hparams.proto` in
https://github.com/tensorflow/tensorboard, in the encoding of
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_F32 = struct.Struct("<f")
_DT_STRING = 7
_SESSION_STARTS = 1

_TYPE_STRING, _TYPE_BOOL, _TYPE_FLOAT64 = 1, 2, 3


def version(wall_time: float) -> bytes:
    """Returns the event that a file begins with."""
    return _double(1, wall_time) + _bytes(3, b"brain.Event:2")


def session_start(wall_time: float, step: int) -> bytes:
    """Returns the event that takes back this step and later ones of older files."""
    return _double(1, wall_time) + _int(2, step) + _bytes(7, _int(1, _SESSION_STARTS))


def measurements(wall_time: float, step: int, values: Iterable[bytes]) -> bytes:
    """Returns the event of values that belong to a step."""
    summary = b"".join(_bytes(1, value) for value in values)
    return _double(1, wall_time) + _int(2, step) + _bytes(5, summary)


def scalar(name: str, value: float) -> bytes:
    """Returns a number as a value of a summary; what `f32` cannot hold is infinite."""
    try:
        number = _F32.pack(value)
    except OverflowError:
        with np.errstate(over="ignore"):
            number = np.array(value, "<f4").tobytes()
    return _before_number(name) + number


@functools.lru_cache(maxsize=4096)  # the same names at each step
def _before_number(name: str) -> bytes:
    return _text(1, name) + _tag(2, 5)


def encoded_image(name: str, content: bytes, shape: tuple[int, ...]) -> bytes:
    """Returns the content of a PNG or GIF file as a value; `shape` is `(h, w, c)`."""
    height, width, channels = shape
    sizes = _int(1, height) + _int(2, width) + _int(3, channels)
    return _text(1, name) + _bytes(4, sizes + _bytes(4, content))


def audio(name: str, samples: np.ndarray, sample_rate: int) -> bytes:
    """Returns sound, `f32[t channels]` in [-1, 1], as a value."""
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
    message = _tag(1, 5) + struct.pack("<f", sample_rate)
    message += _int(2, num_channels) + _int(3, num_samples)
    message += _bytes(4, file.getvalue()) + _text(5, "audio/wav")
    return _text(1, name) + _bytes(6, message)


def text(name: str, content: str) -> bytes:
    """Returns Markdown as a value."""
    shape = _bytes(2, _int(1, 1))  # one string
    tensor = _int(1, _DT_STRING) + _bytes(2, shape) + _text(8, content)
    return _plugin(f"{name}/text_summary", "text", b"", _bytes(8, tensor))


def hparams(values: Mapping[str, Any]) -> list[bytes]:
    """Returns hyperparameters as values: which ones there are, and what they are.

    Args:
      values: Name -> text, number or bool; of a function, its name is written. Of any
        other value only that there is one, and nothing of `None`.
    """
    infos, entries = b"", b""
    for name, value in values.items():
        if value is None:
            continue
        kind, encoded = _hparam(value)
        infos += _bytes(4, _text(1, name) + (_int(4, kind) if kind else b""))
        if kind:
            entries += _bytes(1, _text(1, name) + _bytes(2, encoded))
    return [
        _plugin("_hparams_/experiment", "hparams", _bytes(2, infos)),
        _plugin("_hparams_/session_start_info", "hparams", _bytes(3, entries)),
    ]


def _hparam(value: Any) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return _TYPE_BOOL, _int(4, value)
    if isinstance(value, int | float):
        return _TYPE_FLOAT64, _double(2, float(value))
    if isinstance(value, str):
        return _TYPE_STRING, _text(3, value)
    if callable(value):
        return _TYPE_STRING, _text(3, getattr(value, "__name__", str(value)))
    return 0, b""


def _plugin(name: str, plugin: str, content: bytes, tensor: bytes = b"") -> bytes:
    """Returns a value that a part of TensorBoard shows, known by its name."""
    metadata = _bytes(1, _text(1, plugin) + _bytes(2, content))
    return _text(1, name) + tensor + _bytes(9, metadata)


def _int(field: int, value: int) -> bytes:
    return _tag(field, 0) + _varint(value % 2**64)  # negative ones wrap around


def _double(field: int, value: float) -> bytes:
    return _tag(field, 1) + struct.pack("<d", value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8"))


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, 2) + _varint(len(value)) + value


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    if value <= 0x7F:  # nearly all
        return value.to_bytes(1, "little")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
