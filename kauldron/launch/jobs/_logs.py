"""Logs of processes, read while they grow."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping


class GrowingFile:
    """Reads what is appended to a file.

    Args:
      path: The file; it may come later.
      from_end: Whether what is there already is left out.
    """

    def __init__(self, path: str | os.PathLike[str], *, from_end: bool = False) -> None:
        self._path = pathlib.Path(path)
        self._position = 0
        if from_end and self._path.exists():
            self._position = self._path.stat().st_size

    def read_lines(self, *, whole: bool = True) -> list[str]:
        """Returns the lines that are new.

        Args:
          whole: Whether a line that has no end yet is left for later.
        """
        try:
            with self._path.open("rb") as f:
                f.seek(self._position)
                data = f.read()
        except FileNotFoundError:
            return []
        if whole:
            data = data[: data.rfind(b"\n") + 1]
        self._position += len(data)
        return data.decode(errors="replace").splitlines()


class Logs:
    """Reads several logs at once.

    Args:
      paths: The log of each process, by its index.
      from_end: Whether what is there already is left out.
    """

    def __init__(
        self, paths: Mapping[int, pathlib.Path], *, from_end: bool = False
    ) -> None:
        self._files = {
            index: GrowingFile(path, from_end=from_end) for index, path in paths.items()
        }

    def read_lines(self, *, whole: bool = True) -> list[str]:
        """Returns new lines; with several logs, each begins with `[index] `."""
        lines = []
        for index, file in self._files.items():
            head = f"[{index}] " if len(self._files) > 1 else ""
            lines += [head + line for line in file.read_lines(whole=whole)]
        return lines
