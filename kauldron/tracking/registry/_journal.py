"""What people have typed, and which workdirs there are: a file beside the database.

With it, and with what is in the workdirs, the database can be made anew. A line is an
entry; of a key the last line counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from etils import epath

from kauldron._base import shared_files
from kauldron.workdir import json_lines


class Entry(NamedTuple):
    """A line of the journal.

    Attributes:
      kind: Name of the table.
      key: Names one of it.
      fields: What is known of it; `None` if it was removed.
    """

    kind: str
    key: str
    fields: Mapping[str, Any] | None


class Journal:
    """The journal of a registry.

    Args:
      path: Where it is; `None`: nothing is kept.
    """

    def __init__(self, path: epath.Path | None) -> None:
        self._path = path

    @property
    def is_new(self) -> bool:
        """Whether nothing was kept yet."""
        return self._path is not None and not self._path.exists()

    def append(self, entries: Iterable[Entry]) -> None:
        """Adds entries; each is written as a whole or not at all.

        Raises:
          OSError: If they cannot be written.
        """
        lines = [json.dumps(entry._asdict()) + "\n" for entry in entries]
        if self._path is None or not lines:
            return
        with shared_files.exclusive(shared_files.lock_of(self._path)):
            json_lines.append_text(self._path, "".join(lines))

    def read(self) -> dict[tuple[str, str], Mapping[str, Any] | None]:
        """Returns what is known by kind and key, in the order in which it came."""
        if self._path is None or not self._path.exists():
            return {}
        entries: dict[tuple[str, str], Mapping[str, Any] | None] = {}
        for line in self._path.read_text().splitlines():
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError):  # a killed process left it half
                continue
            entries[entry.kind, entry.key] = entry.fields
        return entries
