"""Values that lie one after the other in a file: read and written by region.

What NIfTI, MetaImage, NRRD and NPY have in common. Plain values are mapped into memory, so
that a region costs no more than itself; compressed ones are unpacked as a stream, and only
what is wanted is kept.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import pathlib
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError

_STREAM_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawValues:
    """Where the values are in a file.

    Attributes:
      path: The file.
      offset: Bytes before the first value; of the unpacked stream, if `packs_header`.
      dtype: As stored, with its byte order.
      axes: Names of the axes, slowest first: `'czyx'`, `'zyxc'`.
      shape: `(z, y, x, c)`.
      packing: `''`, `'gzip'`, `'zlib'` or `'bz2'`.
      packs_header: Whether what is before the values is packed, too.
    """

    path: pathlib.Path
    offset: int
    dtype: np.dtype
    axes: str
    shape: tuple[int, int, int, int]
    packing: str = ""
    packs_header: bool = False

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Sizes in the order of `axes`."""
        return tuple(self.shape["zyxc".index(axis)] for axis in self.axes)

    @property
    def num_bytes(self) -> int:
        """Of all values."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def read(self, region: Region) -> np.ndarray:
        """Returns a part, `[z y x c]`, in the byte order of this machine.

        Raises:
          VolumeError: If the file is too short.
        """
        part = self._plain(region) if not self.packing else self._unpacked(region)
        part = part.transpose([self.axes.index(axis) for axis in "zyxc"])
        return np.ascontiguousarray(part, self.dtype.newbyteorder("="))

    def _plain(self, region: Region) -> np.ndarray:
        found = self.path.stat().st_size - self.offset
        if found < self.num_bytes:
            raise self._too_short(max(found, 0))
        if region == Region.whole(self.shape):
            # Mapped pages would be in memory beside the copy.
            count = int(np.prod(self.shape, dtype=np.int64))
            whole = np.fromfile(self.path, self.dtype, count, offset=self.offset)
            return whole.reshape(self.stored_shape)
        mapped = np.memmap(
            self.path, self.dtype, "r", self.offset, shape=self.stored_shape
        )
        return np.array(mapped[self._slices(region)], order="C")

    def _unpacked(self, region: Region) -> np.ndarray:
        """Returns the part of a packed file, in the order of its axes.

        Axes up to z are walked; of each, the slices of z that are wanted are kept.
        """
        num_outer = self.axes.index("z")
        outer, inner = self.stored_shape[:num_outer], self.stored_shape[num_outer:]
        slice_bytes = int(np.prod(inner[1:], dtype=np.int64)) * self.dtype.itemsize
        z0, z1 = region.start[0], region.stop[0]
        kept = np.empty((*outer, z1 - z0, *inner[1:]), self.dtype)
        blocks = kept.reshape(-1, z1 - z0, *inner[1:])
        with self._stream() as stream:
            position = 0
            for i, block in enumerate(blocks):
                start = (i * inner[0] + z0) * slice_bytes
                self._skip(stream, start - position, start)
                self._fill(stream, block, start)
                position = start + block.nbytes
            if position == self.num_bytes:
                self._check_end(stream)
        slices = list(self._slices(region))
        slices[num_outer] = slice(None)
        return kept[tuple(slices)]

    def _fill(self, stream: io.BufferedIOBase, block: np.ndarray, start: int) -> None:
        view = block.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            wanted = min(len(view) - done, _STREAM_BYTES)
            content = self._next(stream, wanted, start + done)
            view[done : done + len(content)] = content
            done += len(content)

    def _skip(self, stream: io.BufferedIOBase, count: int, start: int) -> None:
        while count:
            wanted = min(count, _STREAM_BYTES)
            count -= len(self._next(stream, wanted, start - count))

    def _next(self, stream: io.BufferedIOBase, wanted: int, position: int) -> bytes:
        try:
            content = stream.read(wanted)
        except (EOFError, zlib.error, OSError) as e:
            raise self._too_short(position, e) from e
        if not content:
            raise self._too_short(position)
        return content

    def _check_end(self, stream: io.BufferedIOBase) -> None:
        """Reads on to the checksum, which is behind the values."""
        try:
            while stream.read(_STREAM_BYTES):
                pass
        except (EOFError, zlib.error, OSError) as e:
            raise VolumeError(
                f"{self.path} is damaged: {e}. Copy or download it again."
            ) from e

    @contextlib.contextmanager
    def _stream(self) -> Iterator[io.BufferedIOBase]:
        with open(self.path, "rb") as file:
            if not self.packs_header:
                file.seek(self.offset)
            with _unpacking(file, self.packing) as stream:
                if self.packs_header:
                    self._skip(stream, self.offset, 0)
                yield stream

    def _slices(self, region: Region) -> tuple[slice, ...]:
        by_name = dict(zip("zyx", region.slices, strict=True))
        return tuple(by_name.get(axis, slice(None)) for axis in self.axes)

    def _too_short(self, found: int, cause: Exception | None = None) -> VolumeError:
        why = f" ({cause})" if cause else ""
        return VolumeError(
            f"{self.path} is cut off or damaged: its header tells of {self.num_bytes} "
            f"bytes of values, and {max(found, 0)} can be read{why}. Copy or download it "
            "again."
        )


def _unpacking(file: IO[bytes], packing: str) -> io.BufferedIOBase:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=file)
    if packing == "bz2":
        return bz2.BZ2File(file)
    return io.BufferedReader(_ZlibStream(file))


class _ZlibStream(io.RawIOBase):
    """Unpacks a zlib stream: what gzip.GzipFile is for gzip."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while True:
            packed = self._unpacker.unconsumed_tail or self._file.read(1 << 16)
            content = self._unpacker.decompress(packed, len(buffer))
            if content or not packed:
                buffer[: len(content)] = content
                return len(content)
