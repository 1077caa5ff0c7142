"""Writes values that lie one after the other in a file, region by region."""

from __future__ import annotations

import contextlib
import gzip
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import IO

import numpy as np
from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.files._raw import RawValues
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError

_BLOCK_BYTES = 1 << 22


@contextlib.contextmanager
def writing(header: bytes, values: RawValues) -> Iterator[RawWriter]:
    """Yields the writer of a file that holds a header and then values.

    It appears, or replaces an older one, when the block succeeds. `values.packing` may be
    `'gzip'`, and then the header is packed, too.
    """
    with shared_files.replacing(epath.Path(values.path)) as temporary:
        writer = RawWriter(pathlib.Path(temporary), header, values)
        try:
            yield writer
            writer.finish()
        finally:
            writer.scratch.unlink(missing_ok=True)


class RawWriter:
    """Writes regions; a packed file is packed at the end, from a plain one beside it."""

    def __init__(self, path: pathlib.Path, header: bytes, values: RawValues) -> None:
        self.scratch = path.with_name(f"{path.name}.values")
        self._path = path
        self._header = header
        self._values = values
        self._has_parts = False
        self._is_packed = False
        # Fails now, and not after the work, where nothing may be written.
        path.touch()

    def write(self, region: Region, array: np.ndarray) -> None:
        """Writes a part, `[z y x c]`."""
        values = self._values
        if self._is_packed:
            raise VolumeError(
                f"{values.path}: the whole volume has been written already; packed files "
                "cannot be changed."
            )
        array = array.transpose(["zyxc".index(axis) for axis in values.axes])
        if region == Region.whole(values.shape) and not self._has_parts:
            self._write_whole(array)
            return
        by_name = dict(zip("zyx", region.slices, strict=True))
        slices = tuple(by_name.get(axis, slice(None)) for axis in values.axes)
        # Mapped for a moment: pages of earlier parts would stay in memory.
        self._map()[slices] = array
        self._has_parts = True

    def finish(self) -> None:
        """Completes the file."""
        if self._is_packed:
            return
        self._map()
        if self._values.packing:
            with open(self.scratch, "rb") as scratch, self._packed() as packed:
                shutil.copyfileobj(scratch, packed, _BLOCK_BYTES)

    def _map(self) -> np.memmap:
        values = self._values
        header = b"" if values.packing else self._header
        path = self.scratch if values.packing else self._path
        size = len(header) + values.num_bytes
        with open(path, "r+b" if path.exists() else "w+b") as file:
            if os.fstat(file.fileno()).st_size < size:
                file.write(header)
                file.flush()
                if hasattr(os, "posix_fallocate"):
                    # A full disk is told here; later, it would end the process (SIGBUS).
                    os.posix_fallocate(file.fileno(), 0, size)
                else:  # macOS
                    file.truncate(size)
        return np.memmap(
            path, values.dtype, "r+", len(header), shape=values.stored_shape
        )

    def _write_whole(self, array: np.ndarray) -> None:
        if self._values.packing:
            with self._packed() as packed:
                self._write_blocks(packed, array)
            self._is_packed = True
            return
        with open(self._path, "wb") as file:
            file.write(self._header)
            self._write_blocks(file, array)

    @contextlib.contextmanager
    def _packed(self) -> Iterator[gzip.GzipFile]:
        # No name and no time: the same volume gives the same bytes.
        with (
            open(self._path, "wb") as file,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
        ):
            packed.write(self._header)
            yield packed

    def _write_blocks(self, file: IO[bytes] | gzip.GzipFile, array: np.ndarray) -> None:
        for block in array:
            block = np.ascontiguousarray(block, self._values.dtype)
            file.write(block.reshape(-1).view(np.uint8).data)
