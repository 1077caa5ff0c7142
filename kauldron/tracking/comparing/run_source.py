"""What is asked for runs: the registry, or anything that answers as it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kauldron._base import errors
from kauldron.tracking.registry import records


class ComparingError(errors.UserError, ValueError):
    """Runs that cannot be compared, plotted or reported as asked."""


class RunSource(Protocol):
    """Runs by filter, by name, and their curves. `Registry` is one."""

    def runs(
        self,
        where: str | None = None,
        sort: str | None = None,
        *,
        project: str | None = None,
        experiment: str | None = None,
        archived: bool = False,
        limit: int | None = None,
    ) -> list[records.Run]:
        """Returns the runs that a filter lets through, in an order."""
        ...

    def run(self, name: str) -> records.Run:
        """Returns a run by its id, number, name or workdir."""
        ...

    def curve(self, run: records.Run, metric: str) -> records.Curve:
        """Returns a metric of a run over its steps."""
        ...


def chosen_runs(
    source: RunSource, names: Sequence[str], *, at_least: int
) -> list[records.Run]:
    """Returns runs by name, in the order given, each once.

    Raises:
      ComparingError: If those are too few.
    """
    by_id = {run.id: run for run in map(source.run, names)}
    if len(by_id) < at_least:
        given = ", ".join(by_id) or "none"
        raise ComparingError(
            f"Name at least {at_least} different runs: got {given}. `kauldron runs ls` "
            "lists them."
        )
    return list(by_id.values())
