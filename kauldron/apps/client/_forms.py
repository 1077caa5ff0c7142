"""Forms with files, sent as they are read: no more than a piece is in memory."""

from __future__ import annotations

import os
import pathlib
import secrets
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PIECE_BYTES = 2**18


class Part(NamedTuple):
    """A file of a form.

    Attributes:
      field: Name of the field.
      entry: Files of one number are one file or one folder.
      name: As the server gets it: `series/1.dcm` is in a folder.
      path: Where it is.
    """

    field: str
    entry: int
    name: str
    path: pathlib.Path


class Form:
    """A form, of which the length is known before it is sent; can be sent again.

    Args:
      fields: Name and text of fields that are no files.
      parts: The files.
    """

    def __init__(
        self, fields: Sequence[tuple[str, str]], parts: Sequence[Part]
    ) -> None:
        self._boundary = secrets.token_hex(16).encode()
        self._fields = [self._head(name, {}) + text.encode() for name, text in fields]
        self._files = []
        for part in parts:
            named = {"filename": part.name}
            head = self._head(part.field, named, part.entry)
            self._files.append((head, part.path, part.path.stat().st_size))
        self._end = b"\r\n--" + self._boundary + b"--\r\n"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        length = sum(map(len, self._fields)) + len(self._end)
        length += sum(len(head) + size for head, _, size in self._files)
        kind = f"multipart/form-data; boundary={self._boundary.decode()}"
        return {"Content-Type": kind, "Content-Length": str(length)}

    def pieces(self) -> Iterator[bytes]:
        """Yields its bytes."""
        yield from self._fields
        for head, path, size in self._files:
            yield head
            with path.open("rb") as f:
                while size and (piece := f.read(min(size, _PIECE_BYTES))):
                    size -= len(piece)
                    yield piece
        yield self._end

    def _head(
        self, name: str, named: dict[str, str], entry: int | None = None
    ) -> bytes:
        more = "".join(f'; {key}="{_quoted(value)}"' for key, value in named.items())
        lines = [f'Content-Disposition: form-data; name="{_quoted(name)}"{more}']
        if entry is not None:
            lines += [
                f"Kauldron-Entry: {entry}",
                "Content-Type: application/octet-stream",
            ]
        head = "\r\n".join(lines).encode()
        return b"\r\n--" + self._boundary + b"\r\n" + head + b"\r\n\r\n"


def parts_of(field: str, entry: int, path: str) -> list[Part]:
    """Returns the parts of a file, or of all files in a folder."""
    root = pathlib.Path(os.path.abspath(path))
    if not root.is_dir():
        return [Part(field, entry, root.name, root)]
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return [
        Part(field, entry, file.relative_to(root.parent).as_posix(), file)
        for file in files
    ]


def _quoted(text: str) -> str:
    # As browsers do.
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
