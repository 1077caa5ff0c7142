"""Runs the config of a trainer for a `Runner`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron import konfig
from kauldron.tracking.publishers import _publisher
from kauldron.tracking.storage import _storage
from kauldron.tracking.trackers import (
    _deliveries,
    _publish,
    _receivers,
    _tracked_run,
    _tracker,
)
from kauldron.workdir import run_status

_TRACKER = "runner"


def train(
    what: Any,
    *,
    name: str,
    parent: str,
    storage: _storage.Storage | None,
    tracker: _tracker.Tracker | None,
    publisher: _publisher.Publisher | None,
) -> dict[str, Any]:
    """Trains, followed by a tracker and a publisher; returns the fields of a result.

    Args:
      what: A config, or a trainer.
      name: How the run is called; as its workdir unless given.
      parent: Id of the run that this one is a part of.
      storage: Where the workdir is uploaded to at the end.
      tracker: Where the run is kept.
      publisher: Who tells others.
    """
    trainer = konfig.resolve(what) if isinstance(what, konfig.ConfigDict) else what
    if trainer.workdir is None:
        raise _tracked_run.TrackerError(
            "A run needs a folder for its files: set `cfg.workdir`."
        )
    workdir = os.fspath(trainer.workdir)
    name = name or os.path.basename(os.path.normpath(workdir))
    own: Any = trainer.tracking
    tracking = dict(own) if isinstance(own, Mapping) else {}
    if own is not None and not tracking:
        tracking["tracking"] = own
    if tracker is not None:
        tracking[_TRACKER] = _named(tracker, name=name, parent=parent)
    if publisher is not None:
        tracking["publisher"] = _publish.Publish(publisher)
    state, _ = trainer.replace(tracking=tracking or None).train()
    if storage is not None:
        storage.upload(workdir, name)
    return {
        "id": _id_of(workdir),
        "name": name,
        "metrics": _last_metrics(workdir, name),
        "model": state,
    }


def _named(tracker: Any, **fields: str) -> Any:
    """Returns a tracker that calls its runs so, if it is one that may be told."""
    known = {f.name for f in dataclasses.fields(tracker)} & fields.keys()
    return dataclasses.replace(tracker, **{k: fields[k] for k in known if fields[k]})


def _id_of(workdir: str) -> str:
    status = run_status.read(workdir)
    file = _deliveries.DeliveryFile(workdir, _TRACKER)
    return file.read(status.run_id if status else "").id


def _last_metrics(workdir: str, name: str) -> dict[str, float]:
    try:
        measured = _deliveries.missed_events(epath.Path(workdir), name, since={})
    except LookupError:
        return {}
    last: dict[str, float] = {}
    for event in measured:
        last |= _receivers.to_point(event).values
    return last
