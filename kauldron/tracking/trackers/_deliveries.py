"""What a tracker has of a run: `workdir/trackers/<name>.json`, and files to catch up from."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.tracking.publishers import _events as events
from kauldron.workdir import json_lines

FOLDER = "trackers"
_NAMES_OF_FILES = (json_lines.METRICS_FILE, json_lines.TIMINGS_FILE)
_NO_METRIC = ("step", "collection")
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# A write to an object store takes a while.
_REMOTE_EVERY_SECS = 10.0


@dataclasses.dataclass(kw_only=True)
class Deliveries:
    """What a tracker has of a run, kept so that a later process goes on with it.

    Attributes:
      run_id: Names the run, as `status.json` does: another run in the same workdir does
        not go on with the tracker's run.
      id: Of the tracker's run.
      steps: Collection -> newest step that it has.
      is_ended: Whether it knows how the run has ended.
    """

    run_id: str = ""
    id: str = ""
    steps: dict[str, int] = dataclasses.field(default_factory=dict)
    is_ended: bool = False


class DeliveryFile:
    """Keeps `Deliveries` in a file.

    Args:
      workdir: Of the run.
      name: Of the tracker in the config.
    """

    def __init__(self, workdir: epath.PathLike, name: str) -> None:
        self._path = epath.Path(workdir) / FOLDER / f"{name}.json"
        self._written = -math.inf

    def read(self, run_id: str) -> Deliveries:
        """Returns what there is of a run: nothing if it is another one's."""
        try:
            fields = json.loads(self._path.read_text())
            known = Deliveries(**fields)
        except (OSError, ValueError, TypeError):  # none, or damaged: a run of its own
            return Deliveries(run_id=run_id)
        return known if known.run_id == run_id else Deliveries(run_id=run_id)

    def write(self, deliveries: Deliveries, *, is_urgent: bool = False) -> None:
        """Writes them; to an object store every few seconds unless it is urgent.

        Raises:
          OSError: If they cannot be written.
        """
        now = time.monotonic()
        is_early = now - self._written < _REMOTE_EVERY_SECS
        if is_early and not is_urgent and shared_files.is_remote(self._path):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(deliveries))
        shared_files.write_atomically(self._path, text)
        self._written = now


def missed_events(
    workdir: epath.PathLike,
    run: str,
    *,
    since: Mapping[str, int],
    before: int | None = None,
) -> list[events.Event]:
    """Returns what the files of a run have and a tracker has not.

    Args:
      workdir: Of the run.
      run: Its name.
      since: Collection -> newest step that the tracker has.
      before: Only of earlier steps.

    Raises:
      LookupError: If there are no such files.
    """
    merged: dict[tuple[int, str], dict[str, Any]] = {}
    for record in _records(workdir):
        step, collection = record["step"], record["collection"]
        if step > since.get(collection, -1) and (before is None or step < before):
            merged.setdefault((step, collection), {}).update(_numbers(record))
    return [
        events.Event(
            kind="metric" if collection == "train" else "evaluation",
            run=run,
            step=step,
            collection=collection,
            values=values,
        )
        for (step, collection), values in sorted(merged.items())
    ]


def _records(workdir: epath.PathLike) -> Iterator[dict[str, Any]]:
    found: list[Iterable[dict[str, Any]]] = []
    for name in _NAMES_OF_FILES:
        path = epath.Path(workdir) / name
        if path.exists():
            found.append(json_lines.read(path))
    if not found:
        raise LookupError(f"no writer keeps {json_lines.METRICS_FILE!r}")
    for records in found:
        yield from records


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    numbers = {}
    for name, value in record.items():
        value = _SPECIAL.get(value, value) if isinstance(value, str) else value
        if name not in _NO_METRIC and isinstance(value, int | float):
            numbers[name] = value
    return numbers
