"""Where the files of a form go while they are read: a folder, or memory."""

from __future__ import annotations

import io
import pathlib
from typing import BinaryIO


class OnDisk:
    """Files in a folder.

    Args:
      folder: The folder; names of files are relative to it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return (self._folder / name).exists()

    def open(self, name: str) -> BinaryIO:
        """Returns a new file to write, whose name has `/`.

        Raises:
          FileExistsError: If there is one.
          NotADirectoryError: If a folder of its name is a file.
        """
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("xb")


class InMemory:
    """Files in memory.

    Attributes:
      files: Name with `/` -> file.
    """

    def __init__(self) -> None:
        self.files: dict[str, io.BytesIO] = {}
        self._folders: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return name in self.files or name in self._folders

    def open(self, name: str) -> BinaryIO:
        """Returns a new file to write, as `OnDisk.open` does."""
        if self.has(name):
            raise FileExistsError(name)
        parent = name.rpartition("/")[0]
        while parent and parent not in self._folders:
            if parent in self.files:
                raise NotADirectoryError(name)
            self._folders.add(parent)
            parent = parent.rpartition("/")[0]
        found = self.files[name] = _Kept()
        return found

    def contents(self) -> dict[str, bytes]:
        """Returns name of a file -> bytes."""
        return {name: file.getvalue() for name, file in self.files.items()}

    def write_to(self, folder: pathlib.Path) -> None:
        """Writes the files to a folder."""
        place = OnDisk(folder)
        for name, file in self.files.items():
            with place.open(name) as f:
                f.write(file.getbuffer())


class _Kept(io.BytesIO):
    """A file whose bytes stay when it is closed."""

    def close(self) -> None:
        """Has nothing to do."""
