"""What a run printed, found beside its workdir, and what it measured as lines."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re

from kauldron.tracking.registry import records, shown_values
from kauldron.workdir import json_lines

_MAX_BYTES = 64 * 2**10
_MAX_RECORDS = 500
# Colours and movements of terminals; a line that was written over keeps its end alone.
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_OVERWRITTEN = re.compile(r"^.*\r(?!$)", re.MULTILINE)


def log_files(workdir: str) -> list[pathlib.Path]:
    """Returns the logs of a run, the one written last at the end.

    They are where `kauldron launch` and `kauldron sweep` put them, and every `*.log` in
    the workdir itself.
    """
    folder = pathlib.Path(workdir)
    found = [*folder.glob("*.log"), *folder.glob("job/logs/*.log")]
    found.append(folder.parent / "tasks" / f"{folder.name}.log")
    dated = []
    for path in found:
        with contextlib.suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(dated)]


def read_log(run: records.Run, *, max_bytes: int = _MAX_BYTES) -> str:
    """Returns the end of what a run printed; without a log, what it has measured.

    Args:
      run: The run.
      max_bytes: How much of a log, from its end.
    """
    files = log_files(run.workdir)
    if not files:
        return _measured(run)
    try:
        text = _tail(files[-1], max_bytes)
    except OSError as e:
        return f"{files[-1]} cannot be read: {e.strerror or e}."
    return _CODES.sub("", _OVERWRITTEN.sub("", text.replace("\r\n", "\n")))


def _tail(path: pathlib.Path, max_bytes: int) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - max_bytes))
        text = file.read().decode("utf-8", errors="replace")
    return text.partition("\n")[2] if size > max_bytes else text


def _measured(run: records.Run) -> str:
    """Returns a line for each record of `metrics.jsonl`, as a training prints them."""
    head = "No log: the run printed to its terminal. It has measured:\n"
    path = pathlib.Path(run.workdir) / json_lines.METRICS_FILE
    try:
        measured = json_lines.read(path)[-_MAX_RECORDS:]
    except OSError:
        return f"No log, and no {json_lines.METRICS_FILE}, in {run.workdir}."
    lines = []
    for record in measured:
        values = "  ".join(
            f"{name.rpartition('/')[2]} {shown_values.format_value(value)}"
            for name, value in record.items()
            if name not in ("step", "collection")
            and isinstance(value, int | float | str)
        )
        lines.append(
            f"step {record.get('step')}  [{record.get('collection')}]  {values}"
        )
    return head + "\n".join(lines)
