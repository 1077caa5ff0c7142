"""Who a courier brings events to: a tracker, or a publisher."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence

from kauldron.tracking.publishers import _events as events
from kauldron.tracking.publishers import _publisher
from kauldron.tracking.trackers import _deliveries, _tracked_run

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
      start: `Tracker.start`.
      info: The run; its `id` is filled in.
      known: What the tracker has of it.
      file: Where that is kept; `None` without a workdir.
    """

    def __init__(
        self,
        start: Callable[[_tracked_run.RunStart], _tracked_run.TrackedRun],
        info: _tracked_run.RunStart,
        known: _deliveries.Deliveries,
        file: _deliveries.DeliveryFile | None,
    ) -> None:
        self._start = start
        self._info = info
        self._known = known
        self._file = file
        self._run: _tracked_run.TrackedRun | None = None
        self._is_refused = False
        # Of collections whose later steps alone are still to be logged.
        self._skips: dict[str, int] = {}

    @property
    def run_id(self) -> str:
        """Id of the tracker's run; empty while it could not be started."""
        return self._known.id

    def deliver(self, waiting: Sequence[events.Event]) -> int:
        if self._is_refused:
            return len(waiting)
        event = waiting[0]
        run = self._run or self._open()
        if event.kind == "started":
            self._begin(run, event)
        elif event.kind in _MEASURED:
            return self._log(run, waiting)
        elif event.kind == "checkpoint":
            self._keep(run, event)
        elif event.kind in ("ended", "failed"):
            outcome: _tracked_run.Outcome = "failed"
            if event.kind == "ended":
                outcome = "interrupted" if event.status == "interrupted" else "done"
            run.end(outcome, event.message)
            self._known.is_ended = True
            self._save(is_urgent=True)
        return 1

    def catch_up(self, missed: Mapping[str, int]) -> bool:
        if self._is_refused:
            return True
        self._log_from_files(self._run or self._open())
        return all(self._known.steps.get(c, -1) >= step for c, step in missed.items())

    def close(self) -> None:
        pass

    def _open(self) -> _tracked_run.TrackedRun:
        try:
            run = self._start(dataclasses.replace(self._info, id=self._known.id))
        except OSError:
            raise
        except Exception:  # the same for all that comes after
            self._is_refused = True
            raise
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

    def _begin(self, run: _tracked_run.TrackedRun, event: events.Event) -> None:
        run.log_params(event.values)
        if event.step > 0 and self._info.workdir:  # of a process that was killed
            with contextlib.suppress(
                LookupError
            ):  # without files, nothing is caught up
                self._log_from_files(run, before=event.step)

    def _keep(self, run: _tracked_run.TrackedRun, event: events.Event) -> None:
        path = event.values.get("path")  # of a file that the tracker is to keep
        if path is not None and not os.path.exists(path):
            raise LookupError(f"{path!r} is gone before it could be kept")
        if path is not None:
            run.log_artifact(path, event.values["name"])

    def _log_from_files(
        self, run: _tracked_run.TrackedRun, before: int | None = None
    ) -> None:
        missed = _deliveries.missed_events(
            self._info.workdir,
            self._info.name,
            since=self._known.steps,
            before=before,
        )
        while missed:
            missed = missed[self._log(run, missed) :]
        self._skips = dict(self._known.steps)

    def _log(
        self, run: _tracked_run.TrackedRun, waiting: Sequence[events.Event]
    ) -> int:
        measured = itertools.takewhile(lambda e: e.kind in _MEASURED, waiting)
        taken = list(itertools.islice(measured, _MAX_POINTS))
        batch = [e for e in taken if e.step > self._skips.get(e.collection, -1)]
        num = len(taken)
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
        self, run: _tracked_run.TrackedRun, batch: Sequence[events.Event]
    ) -> None:
        if not batch:
            return
        run.log_metrics([to_point(event) for event in batch])
        for event in batch:
            self._known.steps[event.collection] = event.step
        self._save()

    def _save(self, *, is_urgent: bool = False) -> None:
        if self._file is not None:
            # A full disk is no reason to log again what the tracker has.
            with contextlib.suppress(OSError):
                self._file.write(self._known, is_urgent=is_urgent)


def to_point(event: events.Event) -> _tracked_run.Point:
    """Returns what was measured, by the names that trackers have."""
    values: dict[str, float] = {}
    for name in sorted(event.values, key=_rank):
        # Of two names that end alike, that of the metric is the short one.
        key = f"{event.collection}.{name.rpartition('/')[2]}"
        if key in values:
            key = f"{event.collection}.{name}"
        values[key] = float(event.values[name])
    return _tracked_run.Point(event.step, values, event.time)


def _rank(name: str) -> int:
    kind = name.partition("/")[0]
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
