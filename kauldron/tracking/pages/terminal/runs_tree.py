"""The tree of projects, families and experiments, with how many runs each has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual.widgets import Tree

from kauldron.tracking.registry import records


class Scope(NamedTuple):
    """Which runs are shown; empty fields mean all."""

    project: str = ""
    family: str = ""
    experiment: str = ""

    def has(self, run: records.Run) -> bool:
        """Whether a run is one of them."""
        pairs = zip(self, (run.project, run.family, run.experiment), strict=True)
        return all(wanted in ("", there) for wanted, there in pairs)


class RunsTree(Tree[Scope]):
    """Projects > families > experiments; a family without a name is left out."""

    DEFAULT_CSS = (
        "RunsTree { width: 30; border-right: solid $panel; padding: 0 1 0 0; }"
    )

    def __init__(self) -> None:
        super().__init__("All runs", data=Scope())
        self.root.expand()
        self.auto_expand = False
        self._counts: dict[Scope, int] = {}

    def show(self, runs: Sequence[records.Run]) -> None:
        """Shows the groups of runs; what is open or chosen stays so."""
        counts: dict[Scope, int] = {Scope(): len(runs)}
        for run in runs:
            scopes = {
                Scope(run.project),
                Scope(run.project, run.family),
                Scope(run.project, run.family, run.experiment),
            } - {Scope()}
            for scope in scopes:
                counts[scope] = counts.get(scope, 0) + 1
        if counts == self._counts:
            return
        self._counts = counts
        chosen = self.cursor_node.data if self.cursor_node else Scope()
        closed = {
            node.data
            for project in self.root.children
            for node in (project, *project.children)
            if not node.is_expanded
        }
        self.root.remove_children()
        self.root.set_label(_label("All runs", len(runs)))
        nodes = {Scope(): self.root}
        for scope in sorted(counts):
            if scope not in nodes:
                nodes[scope] = self._add(scope, nodes, counts, closed)
        if chosen is not None and chosen in nodes:
            self.call_after_refresh(self.move_cursor, nodes[chosen])

    def _add(self, scope: Scope, nodes: dict, counts: dict, closed: set):
        parent = Scope(scope.project)
        if scope.experiment and scope.family:
            parent = Scope(scope.project, scope.family)
        if scope == Scope(scope.project):
            parent = Scope()
        name = scope.experiment or scope.family or scope.project
        label = _label(name, counts[scope])
        if scope.experiment:
            return nodes[parent].add_leaf(label, data=scope)
        return nodes[parent].add(label, data=scope, expand=scope not in closed)


def _label(name: str, count: int) -> Text:
    return Text.assemble(name or "no project", (f" {count:,}", "dim"))
