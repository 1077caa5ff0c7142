"""A tracker of one's own: it keeps a run in a JSON file, and can be made to be gone."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import uuid
from typing import Any

from kauldron import kd


@dataclasses.dataclass(frozen=True)
class FileTracker(kd.tracking.Tracker):
    """Keeps each run as `<folder>/<id>.json`.

    While there is a file `<folder>/gone`, nothing can be reached. A metric called
    `train.refused` is never taken.
    """

    folder: str
    parent: str = ""

    def start(self, run):
        self.check()
        known = pathlib.Path(self.folder) / f"{run.id}.json"
        tracked = _Run(self, run.id if run.id and known.exists() else uuid.uuid4().hex)
        with tracked.changed() as content:
            content.setdefault("name", run.name)
            content.setdefault("parent", run.parent)
            content["status"] = "running"
            content["starts"] = content.get("starts", 0) + 1
        return tracked

    def check(self):
        if (pathlib.Path(self.folder) / "gone").exists():
            raise ConnectionError("nobody answers.")

    def runs(self) -> list[dict[str, Any]]:
        files = sorted(pathlib.Path(self.folder).glob("*.json"))
        return [json.loads(file.read_text()) for file in files]


class _Run:
    def __init__(self, tracker, id):
        self.id = id
        self._tracker = tracker
        self._path = pathlib.Path(tracker.folder) / f"{id}.json"

    def changed(self):
        import contextlib

        @contextlib.contextmanager
        def change():
            self._tracker.check()
            content = json.loads(self._path.read_text()) if self._path.exists() else {}
            yield content
            self._path.write_text(json.dumps(content))

        return change()

    def log_params(self, params):
        with self.changed() as content:
            content.setdefault("params", {}).update(params)

    def log_metrics(self, points):
        if any("train.refused" in point.values for point in points):
            raise kd.tracking.TrackerError("it is refused.")
        with self.changed() as content:
            kept = content.setdefault("points", [])
            kept += [[point.step, dict(point.values)] for point in points]

    def log_artifact(self, path, name):
        with self.changed() as content:
            text = pathlib.Path(path).read_text()
            content.setdefault("artifacts", {})[name] = text

    def set_tags(self, tags):
        with self.changed() as content:
            content.setdefault("tags", {}).update(tags)

    def end(self, status, message=""):
        with self.changed() as content:
            content.update(status=status, message=message)

    def last_steps(self):
        with self.changed() as content:
            points = content.get("points", [])
        return {name: step for step, values in points for name in values}
