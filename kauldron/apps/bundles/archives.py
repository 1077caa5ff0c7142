"""Archives: unpacked within limits, packed while they are sent."""

from __future__ import annotations

import pathlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Protocol

from kauldron.apps.bundles import safe_names

_CHUNK_BYTES = 2**18
# Earlier than any file system's clock: equal files make equal archives.
_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = stat.S_IFREG | 0o644
_UNIX = 3
# Flags: sizes are behind the file; its name is UTF-8.
_HAS_TAIL, _IS_UTF8 = 0x08, 0x800


class ArchiveError(ValueError):
    """An archive is damaged, or no folder of files."""


class TooLargeError(ValueError):
    """More was sent than the limits allow."""


class ArchiveLimits(Protocol):
    """What `unpack` has to know of limits."""

    @property
    def max_files(self) -> int:
        """How many files there may be."""
        ...

    @property
    def max_file_bytes(self) -> int:
        """Of each file."""
        ...

    @property
    def max_request_bytes(self) -> int:
        """Of all files."""
        ...


class _AnySize:
    max_files = max_file_bytes = max_request_bytes = 2**60


# For archives of which the sender is trusted, and the disk is the limit.
ANY_SIZE: ArchiveLimits = _AnySize()


def unpack(
    archive: pathlib.Path | IO[bytes], folder: pathlib.Path, limits: ArchiveLimits
) -> None:
    """Unpacks a zip within limits: what it says of its sizes is not believed.

    Args:
      archive: The zip.
      folder: Where its files go; none gets out of it.
      limits: `max_files`, `max_file_bytes` of each, `max_request_bytes` of all.

    Raises:
      ArchiveError: If it is no zip, is damaged, encrypted, or a member has a bad name.
      TooLargeError: If it holds more than the limits allow.
    """
    try:
        with zipfile.ZipFile(archive) as z:
            members = [info for info in z.infolist() if not info.is_dir()]
            if len(members) > limits.max_files:
                raise TooLargeError(
                    f"An archive has up to {limits.max_files} files: got {len(members)}."
                )
            if sum(info.file_size for info in members) > limits.max_request_bytes:
                raise _too_much(limits)
            num_bytes = 0
            for info in members:
                target = folder / _member_path(info)
                target.parent.mkdir(parents=True, exist_ok=True)
                num_bytes += _unpack_member(z, info, target, limits, num_bytes)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"The archive cannot be unpacked: {error}.") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ArchiveError("Two members of the archive have one name.") from None
    except (ValueError, LookupError, OverflowError) as error:
        if isinstance(error, ArchiveError | TooLargeError):
            raise
        raise ArchiveError("The archive is damaged.") from None


def _member_path(info: zipfile.ZipInfo) -> pathlib.PurePosixPath:
    kind = stat.S_IFMT(info.external_attr >> 16)
    name = info.filename
    parts = name.replace("\\", "/").split("/")
    is_inside = ".." not in parts and not name.startswith("/") and ":" not in parts[0]
    if kind not in (0, stat.S_IFREG) or not is_inside:
        raise ArchiveError(
            f"A member of an archive is a file inside of it: got {name[:100]!r}."
        )
    return safe_names.safe_path(name)


def _unpack_member(
    z: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    target: pathlib.Path,
    limits: ArchiveLimits,
    before: int,
) -> int:
    num_bytes = 0
    with z.open(info) as source, target.open("xb") as f:
        while chunk := source.read(_CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > limits.max_file_bytes:
                raise TooLargeError(
                    f"A file has up to {limits.max_file_bytes} bytes: "
                    f"{info.filename[:100]!r} of the archive has more."
                )
            if before + num_bytes > limits.max_request_bytes:
                raise _too_much(limits)
            f.write(chunk)
    return num_bytes


def _too_much(limits: ArchiveLimits) -> TooLargeError:
    return TooLargeError(
        f"The files of a request have up to {limits.max_request_bytes} bytes together: "
        "those in the archive have more."
    )


def pack(files: Sequence[tuple[str, pathlib.Path]]) -> Iterator[bytes]:
    """Yields a zip of files, piece by piece, without a file of it.

    Equal files give equal bytes. They are stored as they are: what is large is usually
    compressed already.

    Args:
      files: Name in the zip, and the file.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as z:
        for name, path in files:
            info = zipfile.ZipInfo(name, _TIME)
            info.external_attr = _FILE_MODE << 16
            info.create_system = _UNIX
            info.file_size = path.stat().st_size
            with path.open("rb") as source, z.open(info, "w") as f:
                while chunk := source.read(_CHUNK_BYTES):
                    f.write(chunk)
                    yield from sink.take()
    yield from sink.take(all=True)


# What `pack` writes before, behind and in the directory for each file; and at the end.
_HEAD = struct.Struct("<4s5H3I2H")
_TAIL = struct.Struct("<4s3I")
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")
_END = struct.Struct("<4s4H2LH")


def packed(files: Mapping[str, bytes]) -> bytes:
    """Returns what `pack` yields for files of such names and bytes, sooner.

    Args:
      files: Name in the zip -> bytes, less than 2 GiB together; the order is that of names.
    """
    pieces: list[bytes] = []
    entries: list[bytes] = []
    offset = 0
    for name, content in sorted(files.items()):
        path, size = name.encode(), len(content)
        flags = _HAS_TAIL | (0 if name.isascii() else _IS_UTF8)
        crc, date = zlib.crc32(content), 1 << 5 | 1  # the first day of 1980
        head = _HEAD.pack(b"PK\3\4", 20, flags, 0, 0, date, 0, 0, 0, len(path), 0)
        tail = _TAIL.pack(b"PK\7\x08", crc, size, size)
        pieces += (head, path, content, tail)
        system = (20, _UNIX, 20, 0)
        sizes = (crc, size, size, len(path), 0, 0, 0, 0)
        kind = (_FILE_MODE << 16, offset)
        entry = _ENTRY.pack(b"PK\1\2", *system, flags, 0, 0, date, *sizes, *kind)
        entries += (entry, path)
        offset += len(head) + len(path) + size + len(tail)
    directory = b"".join(entries)
    num_files = len(files)
    end = _END.pack(b"PK\5\6", 0, 0, num_files, num_files, len(directory), offset, 0)
    return b"".join((*pieces, directory, end))


class _Sink:
    """A file that can only be written, and is emptied in between."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._num_bytes = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self._num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Has nothing to do, as `close`."""

    close = flush

    def take(self, *, all: bool = False) -> Iterator[bytes]:
        if self._pieces and (all or self._num_bytes >= _CHUNK_BYTES):
            yield b"".join(self._pieces)
            self._pieces.clear()
            self._num_bytes = 0
