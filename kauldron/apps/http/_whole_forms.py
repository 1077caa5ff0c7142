"""Forms that have come whole and are written as clients usually do: taken apart at once."""

from __future__ import annotations

import re
from typing import NamedTuple

# What a usual part begins with. All else is left to the parser, which knows every form:
# other headers, escapes, folded lines, names of other character sets.
_HEAD = re.compile(
    rb'content-disposition: form-data; name="([^"\\%\r\n]*)"'
    rb'(?:; filename="([^"\\%\r\n]*)")?'
    rb"(?:\r\ncontent-type: [\w/+.=; -]*)?(?:\r\nkauldron-entry: (\d{1,9}))?",
    re.IGNORECASE,
)


class Part(NamedTuple):
    """A part of a form.

    Attributes:
      name: Of the field.
      filename: Of the file; `None` if it is a text.
      entry: Number of the file or folder that it is of, if the client says so.
      data: Its bytes.
    """

    name: bytes
    filename: bytes | None
    entry: bytes | None
    data: bytes


def parts_of(body: bytes, boundary: bytes) -> list[Part] | None:
    """Returns the parts of a whole body; `None` where the parser has to look at it."""
    first, *pieces = body.split(b"\r\n--" + boundary)
    if not pieces or pieces.pop() not in (b"--", b"--\r\n"):
        return None
    start = b"--" + boundary
    if not first.startswith(start):
        return None
    found = []
    for piece in (first[len(start) :], *pieces):
        head, blank, data = piece.partition(b"\r\n\r\n")
        match = _HEAD.fullmatch(head, 2)
        if not blank or head[:2] != b"\r\n" or match is None:
            return None
        name, filename, entry = match.groups()
        found.append(Part(name, filename, entry, data))
    return found
