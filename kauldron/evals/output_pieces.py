"""The names of per-example output files, and which of them are one set.

A set of outputs is one file, `name.npz`, or several: `name.part_0_of_3.npz` if it is
large, `name.process_0_of_2.npz` if several processes wrote it. Names say how many there
are, so a reader knows whether one is missing. Imports no array library.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Self

from etils import epath

from kauldron._base import errors

FORMATS = ("npz", "parquet")

# The place of each row in the dataset, where several processes write rows.
PLACE = "__row__"

_PIECE = re.compile(
    r"(?P<name>.+?)(\.process_(?P<process>\d+)_of_(?P<processes>\d+))?"
    r"(\.part_(?P<part>\d+)_of_(?P<parts>\d+))?\.(?P<format>npz|parquet)"
)


class OutputsError(errors.UserError, ValueError):
    """Outputs that cannot be written or read."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A file of a set, parsed from its name."""

    path: epath.Path
    name: str
    format: str
    process: int
    num_processes: int
    part: int
    num_parts: int

    @classmethod
    def parse(cls, path: epath.Path) -> Self | None:
        """Parses a file name; `None` if it is not the name of an output file."""
        match = _PIECE.fullmatch(path.name)
        if match is None:
            return None
        return cls(
            path=path,
            name=match["name"],
            format=match["format"],
            process=int(match["process"] or 0),
            num_processes=int(match["processes"] or 1),
            part=int(match["part"] or 0),
            num_parts=int(match["parts"] or 1),
        )


def pieces_in(folder: epath.Path) -> list[Piece]:
    """Returns the files of outputs in a folder."""
    pieces = (Piece.parse(path) for path in folder.iterdir())
    return [piece for piece in pieces if piece is not None]
