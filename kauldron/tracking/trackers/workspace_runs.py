"""Trainings that are started in a workspace: its registry follows each."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from kauldron._base import console
from kauldron.tracking.registry import workspaces
from kauldron.tracking.trackers import _local

_NAME = "workspace"


def followed(trainer: Any) -> Any:
    """Returns a trainer that the workspace of the current folder follows, too.

    Args:
      trainer: With a field `tracking`; returned as it is if it has a `Local` already, or
        there is no workspace.
    """
    given = getattr(trainer, "tracking", None)
    parts = dict(given) if isinstance(given, Mapping) else {}
    if given is not None and not parts:
        parts = {"tracking": given}
    if any(isinstance(part, _local.Local) for part in parts.values()):
        return trainer
    if not hasattr(trainer, "tracking") or workspaces.Workspace.find() is None:
        return trainer
    if importlib.util.find_spec("sqlalchemy") is None:
        console.warn(
            "The run is not entered into the workspace: pip install "
            "'kauldron[tracking]'. `kauldron runs index` enters it later."
        )
        return trainer
    return trainer.replace(tracking={**parts, _NAME: _local.Local()})
