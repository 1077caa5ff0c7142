"""`Tracker`: where runs are kept with their parameters, metrics and files."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from kauldron.tracking.trackers import _tracked_run


@runtime_checkable
class Tracker(Protocol):
    """Keeps runs. One of your own derives from it and implements `start`."""

    def start(self, run: _tracked_run.RunStart) -> _tracked_run.TrackedRun:
        """Begins a run, or goes on with one.

        Raises:
          OSError: If the tracker cannot be reached now.
          TrackerError: If there is no such run, or no such project.
        """
        ...

    def follow(self, name: str) -> Any:
        """Follows the training inside a block: `cfg.tracking`."""
        from kauldron.tracking.trackers import _following  # trains: needs JAX

        return _following.follow_with_tracker(
            self.start,
            name,
            run_name=getattr(self, "name", ""),
            parent=getattr(self, "parent", ""),
        )
