"""What feeds trackers and publishers from a training: a hook and a writer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from kauldron import recording
from kauldron._base import console, problem_log
from kauldron.recording import measured
from kauldron.sharding import TrainState
from kauldron.tracking.publishers import _events as events
from kauldron.tracking.publishers import _publisher
from kauldron.tracking.trackers import _courier, _deliveries, _receivers, _tracked_run
from kauldron.train import hooks
from kauldron.workdir import config_values, run_status

# Whoever stops a run does not wait for long.
_PATIENCE_IF_INTERRUPTED_SECS = 10.0

# Makes the receiver of a run from its workdir, its name and its id in `status.json`.
_ToReceiver = Callable[[str, str, str], _courier.Receiver]
_Followers = tuple[hooks.Hook, recording.Writer]


def follow_with_tracker(
    start: Callable[[_tracked_run.RunStart], _tracked_run.TrackedRun],
    name: str,
    *,
    run_name: str = "",
    parent: str = "",
) -> contextlib.AbstractContextManager[_Followers]:
    """Feeds a tracker from a run, see `kd.train.Trainer.tracking`.

    Args:
      start: `Tracker.start`.
      name: Of the tracker, in messages.
      run_name: How the run is called; as its workdir unless given.
      parent: Id of the run that this one is a part of.
    """

    def to_receiver(workdir: str, name_of_workdir: str, run_id: str) -> Any:
        file = _deliveries.DeliveryFile(workdir, name)
        info = _tracked_run.RunStart(
            name=run_name or name_of_workdir,
            workdir=workdir,
            parent=parent,
            in_workdir=True,
        )
        return _receivers.TrackerReceiver(start, info, file.read(run_id), file)

    return _follow(f"the tracker {name!r}", to_receiver)


def follow_with_publisher(
    publisher: _publisher.Publisher, name: str
) -> contextlib.AbstractContextManager[_Followers]:
    """Feeds a publisher from a run, see `kd.train.Trainer.tracking`."""

    def to_receiver(workdir: str, run_name: str, run_id: str) -> Any:
        return _receivers.PublisherReceiver(publisher)

    return _follow(f"the publisher {name!r}", to_receiver, pause_secs=0.0)


@contextlib.contextmanager
def _follow(
    called: str, to_receiver: _ToReceiver, *, pause_secs: float = 0.5
) -> Iterator[_Followers]:
    feed = _Feed(called, to_receiver, pause_secs)
    error = None
    try:
        yield _FeedHook(feed), _FeedWriter(feed=feed)
    except BaseException as e:
        error = e
        raise
    finally:
        feed.end(error)


class _Feed:
    """What hook and writer of a run share: the courier of the first process."""

    def __init__(
        self, called: str, to_receiver: _ToReceiver, pause_secs: float
    ) -> None:
        self.step = 0
        self._called = called
        self._to_receiver = to_receiver
        self._pause_secs = pause_secs
        self._courier: _courier.Courier | None = None
        self._run = ""

    def start(self, workdir: str) -> None:
        """Begins to deliver what happens in a run."""
        if not console.is_lead_host():
            return
        self._run = os.path.basename(os.path.normpath(workdir))
        status = run_status.read(workdir)
        run_id = status.run_id if status else ""
        self._courier = _courier.Courier(
            self._called,
            self._to_receiver(workdir, self._run, run_id),
            problems=problem_log.current(),
            pause_secs=self._pause_secs,
        )

    def tell(self, kind: events.Kind, **fields: Any) -> None:
        """Has something delivered, as soon as it can be."""
        if self._courier is not None:
            self._courier.put(events.Event(kind=kind, run=self._run, **fields))

    def settle(self, step: int) -> None:
        """Waits a while until all is delivered, while the run can still report it."""
        self.step = step
        if self._courier is not None:
            self._courier.flush()

    def end(self, error: BaseException | None) -> None:
        """Tells how the run has ended, after its files have been written."""
        if self._courier is None:
            return
        state, message = run_status.outcome_of(error)
        kind = "failed" if state == "failed" else "ended"
        self.tell(kind, step=self.step, status=state, message=message)
        is_hurried = state == "interrupted"
        self._courier.close(
            patience_secs=_PATIENCE_IF_INTERRUPTED_SECS
            if is_hurried
            else _courier.PATIENCE_SECS
        )
        self._courier = None


class _FeedHook(hooks.Hook):
    def __init__(self, feed: _Feed) -> None:
        self._feed = feed

    def on_start(self, run: hooks.RunControl) -> None:
        trainer: Any = run.trainer
        self._feed.start(os.fspath(trainer.workdir))
        config = trainer.raw_cfg
        content = {} if config is None else json.loads(config.to_json())
        params = config_values.leaves(content)
        self._feed.tell("started", step=run.first_step, values=params)

    def on_checkpoint(self, run: hooks.RunControl, *, step: int) -> None:
        self._feed.tell("checkpoint", step=step)

    def on_end(self, run: hooks.RunControl, *, step: int, state: TrainState) -> None:
        self._feed.settle(step)

    def on_error(
        self, run: hooks.RunControl, *, step: int, error: BaseException
    ) -> None:
        self._feed.step = step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _FeedWriter(recording.Writer):
    feed: _Feed

    def write(self, step: int, values: measured.Measured) -> None:
        is_training = self.collection == "train"
        self.feed.tell(
            "metric" if is_training else "evaluation",
            step=step,
            collection=self.collection,
            values={**values.scalars, **values.timings},
        )

    def can_write(self, kind: str) -> bool:
        return False  # numbers alone
