"""What a run without a trainer tells its tracker and its publisher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kauldron.tracking.publishers import _events as events
from kauldron.tracking.publishers import _publisher
from kauldron.tracking.trackers import (
    _courier,
    _deliveries,
    _receivers,
    _tracked_run,
    _tracker,
)
from kauldron.workdir import run_status


class RunFeed:
    """The couriers of a run, which is not kept up by who cannot be reached.

    Args:
      info: The run; it goes on if it has an id.
      tracker: Where it is kept; `None` for nowhere.
      publisher: Who tells others; `None` for nobody.
    """

    def __init__(
        self,
        info: _tracked_run.RunStart,
        tracker: _tracker.Tracker | None,
        publisher: _publisher.Publisher | None,
    ) -> None:
        self.step = 0
        self.metrics: dict[str, float] = {}
        self._name = info.name
        self._receiver: _receivers.TrackerReceiver | None = None
        self._couriers: list[_courier.Courier] = []
        if tracker is not None:
            known = _deliveries.Deliveries(id=info.id)
            self._receiver = _receivers.TrackerReceiver(
                tracker.start, info, known, None
            )
            courier = _courier.Courier("the tracker", self._receiver)
            self._couriers.append(courier)
        if publisher is not None:
            receiver = _receivers.PublisherReceiver(publisher)
            courier = _courier.Courier("the publisher", receiver, pause_secs=0.0)
            self._couriers.append(courier)

    @property
    def run_id(self) -> str:
        """Id of the tracker's run."""
        return self._receiver.run_id if self._receiver else ""

    def start(self, params: Mapping[str, Any]) -> None:
        """Tells that the run begins."""
        self._tell("started", values=params)

    def log(self, step: int, metrics: Mapping[str, float], collection: str) -> None:
        """Tells what was measured."""
        self.step = max(self.step, step)
        values = {f"metrics/{name}": float(x) for name, x in metrics.items()}
        self.metrics |= {f"{collection}.{k}": float(x) for k, x in metrics.items()}
        kind = "metric" if collection == "train" else "evaluation"
        self._tell(kind, collection=collection, values=values)

    def keep(self, path: str | os.PathLike[str], name: str) -> None:
        """Has the tracker keep a file or a folder."""
        self._tell("checkpoint", values={"path": os.fspath(path), "name": name})

    def flush(self) -> None:
        """Waits a while until all is delivered."""
        for courier in self._couriers:
            courier.flush()

    def end(self, error: BaseException | None) -> None:
        """Tells how the run has ended."""
        state, message = run_status.outcome_of(error)
        kind = "failed" if state == "failed" else "ended"
        self._tell(kind, status=state, message=message)
        for courier in self._couriers:
            courier.close()

    def _tell(self, kind: events.Kind, **fields: Any) -> None:
        event = events.Event(kind=kind, run=self._name, step=self.step, **fields)
        for courier in self._couriers:
            courier.put(event)
