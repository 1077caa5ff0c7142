"""Forms with files, written to the disk as they come, within limits."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Protocol

from kauldron._base import extras
from kauldron._base.web_calls import WebCall
from kauldron.apps.bundles import safe_names
from kauldron.apps.http import _whole_forms
from kauldron.apps.http._errors import HttpError
from kauldron.apps.jobs.limits import Limits

# So much is collected before it is written in a thread of its own.
_BUFFER_BYTES = 2**20
# A form up to this is looked at once it has come: clients send a part at a time.
_WHOLE_BYTES = 2**16
# What boundaries and headers may take, beside the files.
_HEADER_BYTES = 2**24
# Who sends less than this for long holds a place that others could have.
_LEAST_BYTES_PER_SEC = 2**13
# Header of a part: files of one number are one file or folder, whatever they are called.
_ENTRY = b"kauldron-entry"
_MAX_DEPTH = 16
_MAX_PATH_BYTES = 1000


@dataclasses.dataclass
class Form:
    """What a client has sent.

    Attributes:
      fields: Name -> texts.
      files: Name of the field -> its files and folders, in the order they came: names
        with `/` in the place that they were put into.
      has_folders: Whether there is a folder among them.
    """

    fields: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    files: dict[str, dict[str, None]] = dataclasses.field(default_factory=dict)
    has_folders: bool = False


class Place(Protocol):
    """Where files go."""

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Returns a new file to write, whose name has `/`."""
        ...


async def read_form(
    call: WebCall,
    place: Place,
    limits: Limits,
    takes_file: Callable[[str], bool],
) -> Form:
    """Reads a multipart form; its files are in their place when this returns.

    Args:
      call: The request.
      place: Where files go: `FIELD/NUMBER/NAME`.
      limits: What is refused, before it is written.
      takes_file: Whether a field of this name may be a file.

    Raises:
      HttpError: If it is no form, is too large, or comes too slowly.
    """
    multipart = extras.load(
        "python_multipart.multipart", needed_by="A server of apps", extra="apps"
    )
    kind, options = multipart.parse_options_header(call.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise HttpError(
            415,
            "The body must be a form with files: send the header `Content-Type: "
            "multipart/form-data; boundary=...`.",
        )
    length = call.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_request_bytes + _HEADER_BYTES:
        raise _too_much(limits)
    parts = _Parts(place, limits, takes_file, multipart.parse_options_header)
    try:
        await _feed(
            call,
            lambda: multipart.MultipartParser(boundary, parts.callbacks()),
            lambda body: _whole_forms.parts_of(body, boundary),
            parts,
            limits,
        )
    except multipart.FormParserError:
        raise HttpError(400, "The form is damaged: its parts cannot be told.") from None
    finally:
        parts.close()
    if not parts.has_ended:
        raise HttpError(400, "The form has no end: its last boundary is missing.")
    return parts.form


async def _feed(
    call: WebCall,
    make_parser: Callable[[], Any],
    parts_of: Callable[[bytes], list[_whole_forms.Part] | None],
    parts: _Parts,
    limits: Limits,
) -> None:
    """Gives a body to its parser; a small one once it has come, in one piece."""
    started, num_bytes, parser = time.monotonic(), 0, None
    waiting: list[bytes] = []
    chunks = call.chunks()
    try:
        while True:
            try:
                async with asyncio.timeout(limits.silence_secs):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise _too_slow() from None
            if chunk is None:
                return
            num_bytes += len(chunk)
            if num_bytes > limits.max_request_bytes + _HEADER_BYTES:
                raise _too_much(limits)
            spent = time.monotonic() - started - limits.silence_secs
            if spent * _LEAST_BYTES_PER_SEC > num_bytes:
                raise _too_slow()
            if parser is None:
                waiting.append(chunk)
                if not call.has_ended and num_bytes < _WHOLE_BYTES:
                    continue
                chunk = b"".join(waiting)
                waiting.clear()
                if call.has_ended and (whole := parts_of(chunk)) is not None:
                    parts.take(whole)
                    return
                parser = make_parser()
            parser.write(chunk)
            await parts.write()
            if call.has_ended:
                return
    finally:
        await chunks.aclose()


class _Parts:
    """What a parser tells, one part after the other."""

    def __init__(
        self,
        place: Place,
        limits: Limits,
        takes_file: Callable[[str], bool],
        parse_header: Callable[[bytes], tuple[bytes, dict[bytes, bytes]]],
    ) -> None:
        self.form = Form()
        self.has_ended = False
        self._place = place
        self._limits = limits
        self._takes_file = takes_file
        self._parse_header = parse_header
        self._name = self._header = self._value = b""
        self._field = self._entry = ""
        self._disposition: dict[bytes, bytes] = {}
        self._file: BinaryIO | None = None
        self._pieces: list[bytes] = []
        self._num_buffered = self._num_of_part = 0
        self._num_of_files = self._num_of_fields = 0
        self._num_files = self._num_parts = 0
        self._copies: collections.Counter[str] = collections.Counter()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Returns what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
            "on_end": self._end_all,
        }

    def take(self, whole: Iterable[_whole_forms.Part]) -> None:
        """Takes parts as if a parser told them."""
        for part in whole:
            self._begin()
            self._entry = "" if part.entry is None else f"e{int(part.entry)}"
            self._open(part.name, part.filename)
            self._add_data(part.data, 0, len(part.data))
            self._end()
        self._end_all()

    async def write(self) -> None:
        """Writes what has been collected, if it is much."""
        if self._num_buffered >= _BUFFER_BYTES and self._file is not None:
            data = self._taken()
            await asyncio.to_thread(self._file.write, data)

    def close(self) -> None:
        """Closes the file that is written."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk, which is told already
                self._file.close()

    def _taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._num_buffered = 0
        return data

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > self._limits.max_files + 1000:
            raise HttpError(413, "The form has too many parts.")
        self._disposition = {}
        self._entry = ""
        self._num_of_part = 0
        self._header = self._value = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            kind, self._disposition = self._parse_header(self._value)
            if kind != b"form-data":
                self._disposition = {}
        elif self._header.lower() == _ENTRY and self._value.isdigit():
            self._entry = f"e{int(self._value[:9])}"
        self._header = self._value = b""

    def _end_headers(self) -> None:
        found = self._disposition
        self._open(found.get(b"name", b""), found.get(b"filename"))

    def _open(self, field: bytes, name: bytes | None) -> None:
        self._field = field.decode("utf-8", "replace")
        if not self._field or len(self._field) > 100:
            raise HttpError(400, "A part of the form has no name, or a long one.")
        if name is None:
            return
        if not self._takes_file(self._field):
            raise HttpError(422, f"There is no field {self._field!r} that takes files.")
        self._num_files += 1
        if self._num_files > self._limits.max_files:
            raise HttpError(
                413, f"A request has up to {self._limits.max_files} files: send fewer."
            )
        self._file = self._new_file(name.decode("utf-8", "replace"))

    def _new_file(self, name: str) -> BinaryIO:
        path = safe_names.safe_path(name)
        if len(path.parts) > _MAX_DEPTH or len(bytes(path)) > _MAX_PATH_BYTES:
            raise HttpError(422, "The name of a file is too long.")
        base = safe_names.safe_name(self._field)
        entry = f"{base}/{self._entry}" if self._entry else self._unused(base, path)
        try:
            file = self._place.open(f"{entry}/{path}")
        except (FileExistsError, NotADirectoryError):
            raise HttpError(422, f"Two files are called {name[:100]!r}.") from None
        files = self.form.files.setdefault(self._field, {})
        files[f"{entry}/{path.parts[0]}"] = None
        self.form.has_folders |= len(path.parts) > 1
        return file

    def _unused(self, base: str, path: pathlib.PurePosixPath) -> str:
        """Returns a folder without such a file; files in folders stay together."""
        entry = f"{base}/0"
        while len(path.parts) == 1 and self._place.has(f"{entry}/{path}"):
            self._copies[str(path)] += 1
            entry = f"{base}/{self._copies[str(path)]}"
        return entry

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        size, limits = end - start, self._limits
        self._num_of_part += size
        if self._file is None:
            self._num_of_fields += size
            if self._num_of_fields > limits.max_field_bytes:
                raise HttpError(
                    413, f"Fields have up to {limits.max_field_bytes} bytes of text."
                )
        else:
            self._num_of_files += size
            if self._num_of_part > limits.max_file_bytes:
                raise HttpError(
                    413,
                    f"A file has up to {limits.max_file_bytes} bytes: one has more.",
                )
            if self._num_of_files > limits.max_request_bytes:
                raise _too_much(limits)
        self._pieces.append(data[start:end])
        self._num_buffered += size

    def _end(self) -> None:
        if self._file is None:
            text = self._taken().decode("utf-8", "replace")
            self.form.fields.setdefault(self._field, []).append(text)
        else:
            self._file.write(self._taken())
            self._file.close()
            self._file = None

    def _end_all(self) -> None:
        self.has_ended = True


def _too_much(limits: Limits) -> HttpError:
    return HttpError(
        413,
        f"The files of a request have up to {limits.max_request_bytes} bytes together.",
    )


def _too_slow() -> HttpError:
    return HttpError(408, "The body comes too slowly.")
