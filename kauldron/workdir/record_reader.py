"""The records of runs, read again only where they have changed."""

from __future__ import annotations

import os
from typing import Any

from etils import epath

from kauldron.workdir import json_lines


class RecordReader:
    """Reads the records of runs; a file that has not changed is not read again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, list[dict[str, Any]]]] = {}

    def read(self, workdir: str) -> list[dict[str, Any]]:
        """Returns the records of a run; none if it has written none."""
        path = epath.Path(workdir) / json_lines.METRICS_FILE
        try:
            stat = os.stat(path)
            state = (stat.st_mtime_ns, stat.st_size)
            kept = self._kept.get(workdir)
            if kept is None or kept[0] != state:
                kept = self._kept[workdir] = (state, json_lines.read(path))
        except OSError:
            return []
        return kept[1]
