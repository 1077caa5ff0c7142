"""`deliver`: brings what trackers have missed of a run that is over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from kauldron.tracking.publishers import _events as events
from kauldron.tracking.trackers import _deliveries, _receivers, _tracked_run, _tracker
from kauldron.workdir import config_values, run_status, workdirs


def deliver(workdir: epath.PathLike, *, trusted: Iterable[str] = ()) -> list[str]:
    """Brings what the trackers of a run have missed, once they can be reached again.

    Measurements come from the files of the run, and how it has ended from its status: a
    process that was killed counts as interrupted.

    Args:
      workdir: Of the run, which no process is at.
      trusted: Packages that its config may name, see `kd.train.workdirs.load_config`.

    Returns:
      Names of the trackers that had missed something.

    Raises:
      OSError: If a tracker cannot be reached now; the others have what they missed.
      TrackerError: If a process is at the run, or none ever was.
      WorkdirConfigError: If the run has no config that says who tracks it.
    """
    status = run_status.read(workdir)
    if status is None or status.is_alive:
        said = "is not there" if status is None else status.describe()
        raise _tracked_run.TrackerError(
            f"The run in {os.fspath(workdir)!r} {said}: nothing is to be delivered."
        )
    tracking = workdirs.get_resolved(
        workdir, path="tracking", trusted=trusted, config_update_fn=_with_tracking
    )
    delivered, gone = [], {}
    for name, tracker in named(tracking).items():
        try:
            if isinstance(tracker, _tracker.Tracker) and _deliver_to(
                tracker, name, os.fspath(workdir), status
            ):
                delivered.append(name)
        except OSError as e:  # the others are not to wait for it
            gone[name] = e
    if gone:
        told = " ".join(f"The tracker {name!r}: {e}" for name, e in gone.items())
        raise ConnectionError(told) from next(iter(gone.values()))
    return delivered


def named(tracking: Any) -> dict[str, Any]:
    """Returns the parts of `cfg.tracking` by the names that messages and files have."""
    if tracking is None:
        return {}
    if isinstance(tracking, Mapping):
        return dict(tracking)
    return {"tracking": tracking}


def _with_tracking(cfg: Any) -> Any:
    """Returns a config that says of runs without a tracker that there is none."""
    if "tracking" not in cfg:
        with cfg.unlocked():
            cfg.tracking = None
    return cfg


def _deliver_to(
    tracker: _tracker.Tracker, name: str, workdir: str, status: run_status.RunStatus
) -> bool:
    file = _deliveries.DeliveryFile(workdir, name)
    known = file.read(status.run_id)
    run_name = os.path.basename(os.path.normpath(workdir))
    try:
        missed = _deliveries.missed_events(workdir, run_name, since=known.steps)
    except LookupError:  # a run whose measurements nobody keeps
        missed = []
    if known.is_ended and not missed:
        return False
    info = _tracked_run.RunStart(
        name=getattr(tracker, "name", "") or run_name,
        workdir=workdir,
        parent=getattr(tracker, "parent", ""),
        in_workdir=True,
    )
    receiver = _receivers.TrackerReceiver(tracker.start, info, known, file)
    content = json.loads((epath.Path(workdir) / workdirs.CONFIG_FILE).read_text())
    params = config_values.leaves(content)
    receiver.deliver([events.Event(kind="started", run=run_name, values=params)])
    if missed:
        receiver.catch_up({})
    receiver.deliver([_end_of(run_name, status)])
    return True


def _end_of(run_name: str, status: run_status.RunStatus) -> events.Event:
    state, message = status.state, status.message
    if state == "running":
        state, message = "interrupted", "The process has died."
    kind = "failed" if state == "failed" else "ended"
    return events.Event(
        kind=kind, run=run_name, step=status.step, status=state, message=message
    )
