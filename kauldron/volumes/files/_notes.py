"""Notes about files, each of them told once by a program."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from kauldron._base import console

NO_PLACEMENT = "No placement"

_told: set[str] = set()


def tell(path: pathlib.Path, notes: Iterable[str]) -> None:
    """Warns of notes, of each kind once: a dataset may have thousands of such files."""
    for note in notes:
        kind = note.partition(":")[0]
        if kind not in _told:
            _told.add(kind)
            console.warn(
                f"{path}: {note} Other files like this are not told of; `kauldron "
                "volumes info FILE` tells."
            )


def forget() -> None:
    """Lets each kind of note be told again."""
    _told.clear()
