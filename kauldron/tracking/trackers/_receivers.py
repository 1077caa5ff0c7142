"""Who a courier brings events to: a tracker, or a publisher."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from kauldron.tracking.publishers import _events as events
from kauldron.tracking.publishers import _publisher
from kauldron.tracking.trackers import _deliveries, _tracker

_MEASURED = ("metric", "evaluation")
_KINDS = ("metrics", "losses")
# As many points as a request takes.
_MAX_POINTS = 500


class PublisherReceiver:
    """Tells a publisher of events, one by one.

    Args:
      publisher: Who tells others.
    """

    def __init__(self, publisher: _publisher.Publisher) -> None:
        self._publisher = publisher

    def deliver(self, waiting: Sequence[events.Event]) -> int:
        self._publisher.publish(waiting[0])
        return 1

    def catch_up(self, missed: Mapping[str, int]) -> bool:
        raise LookupError("events are not told late")

    def close(self) -> None:
        self._publisher.close()


class TrackerReceiver:
    """Keeps events with a tracker: starts its run, logs, ends it.

    What the tracker has already of a run that goes on is not logged twice; what it has
    missed is taken from the files of the run.

    Args:
      tracker: Where to keep them.
      start: The run; its `id` is filled in.
      known: What the tracker has of it.
      file: Where that is kept; `None` without a workdir.
    """

    def __init__(
        self,
        tracker: _tracker.Tracker,
        start: _tracker.RunStart,
        known: _deliveries.Deliveries,
        file: _deliveries.DeliveryFile | None,
    ) -> None:
        self._tracker = tracker
        self._start = start
        self._known = known
        self._file = file
        self._run: _tracker.TrackedRun | None = None
        # Of collections whose later steps alone are still to be logged.
        self._skips: dict[str, int] = {}
        self._has_started = False

    def deliver(self, waiting: Sequence[events.Event]) -> int:
        event = waiting[0]
        run = self._run or self._open()
        if event.kind == "started":
            self._begin(run, event)
        elif event.kind in _MEASURED:
            return self._log(run, waiting)
        elif event.kind in ("ended", "failed"):
            outcome: _tracker.Outcome = "failed"
            if event.kind == "ended":
                outcome = "interrupted" if event.status == "interrupted" else "done"
            run.end(outcome, event.message)
            self._known.is_ended = True
            self._save(is_urgent=True)
        return 1

    def catch_up(self, missed: Mapping[str, int]) -> bool:
        self._log_from_files(self._run or self._open())
        return all(self._known.steps.get(c, -1) >= step for c, step in missed.items())

    def close(self) -> None:
        pass

    def _open(self) -> _tracker.TrackedRun:
        start = dataclasses.replace(self._start, id=self._known.id)
        run = self._tracker.start(start)
        if run.id != self._known.id:  # a new one, or the old one is not there any more
            self._known.id = run.id
            self._known.steps = {}
        self._known.is_ended = False
        for metric, step in run.last_steps().items():
            collection = metric.partition(".")[0]
            self._known.steps[collection] = max(
                step, self._known.steps.get(collection, -1)
            )
        self._skips = dict(self._known.steps)
        self._save(is_urgent=True)
        self._run = run
        return run

    def _begin(self, run: _tracker.TrackedRun, event: events.Event) -> None:
        run.log_params(event.values)
        if event.step > 0 and self._start.workdir:  # of a process that was killed
            try:
                self._log_from_files(run, before=event.step)
            except LookupError:
                pass  # without files, there is nothing to catch up with

    def _log_from_files(
        self, run: _tracker.TrackedRun, before: int | None = None
    ) -> None:
        missed = _deliveries.missed_events(
            self._start.workdir,
            self._start.name,
            since=self._known.steps,
            before=before,
        )
        while missed:
            missed = missed[self._log(run, missed) :]
        self._skips = dict(self._known.steps)

    def _log(self, run: _tracker.TrackedRun, waiting: Sequence[events.Event]) -> int:
        num, batch = 0, []
        for event in waiting[:_MAX_POINTS]:
            if event.kind not in _MEASURED:
                break
            num += 1
            if event.step > self._skips.get(event.collection, -1):
                batch.append(event)
        try:
            self._log_points(run, batch)
        except OSError:
            raise
        except Exception:
            if len(batch) == 1:
                raise
            num = waiting.index(batch[0]) + 1  # the others are not to suffer from it
            self._log_points(run, batch[:1])
        return num

    def _log_points(
        self, run: _tracker.TrackedRun, batch: Sequence[events.Event]
    ) -> None:
        if not batch:
            return
        run.log_metrics([to_point(event) for event in batch])
        for event in batch:
            self._known.steps[event.collection] = event.step
        self._save()

    def _save(self, *, is_urgent: bool = False) -> None:
        if self._file is not None:
            self._file.write(self._known, is_urgent=is_urgent)


def to_point(event: events.Event) -> _tracker.Point:
    """Returns what was measured, by the names that trackers have."""
    values: dict[str, float] = {}
    for name in sorted(event.values, key=_rank):
        # Of two names that end alike, that of the metric is the short one.
        key = f"{event.collection}.{name.rpartition('/')[2]}"
        if key in values:
            key = f"{event.collection}.{name}"
        values[key] = float(event.values[name])
    return _tracker.Point(event.step, values, event.time)


def _rank(name: str) -> int:
    kind = name.partition("/")[0]
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
