"""All runs: a tree of projects, a table that is up to date, curves of what is marked."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Input, Static, Tree
from textual.worker import get_current_worker

from kauldron._base import errors
from kauldron.tracking.comparing import run_source
from kauldron.tracking.pages.terminal import (
    compare_screen,
    curve_view,
    run_screen,
    runs_table,
    runs_tree,
)
from kauldron.tracking.registry import records, shown_values

# The first screen shows so many runs; the others follow.
_FIRST_RUNS = 100
_REFRESH_SECS = 2.0
_MOST_COMPARED = 8
_NEWEST_FIRST = "-id"


class RunsScreen(Screen[None]):
    """The first screen.

    Args:
      source: Where the runs are from, such as a `Registry`.
      refresh_secs: How often it looks for news, at the most.
    """

    DEFAULT_CSS = """
    RunsScreen #summary { height: 1; padding: 0 1; background: $panel; color: $text; }
    RunsScreen #filter { display: none; border: none; height: 1; padding: 0 1; background: $boost; }
    RunsScreen #filter.shown { display: block; }
    RunsScreen #problem { display: none; height: auto; padding: 0 1; color: $text-error; }
    RunsScreen #preview { height: 14; border-top: solid $panel; }
    RunsScreen #preview.hidden { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "compare", "Compare"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("S", "reverse", "Reverse", show=False),
        Binding("m", "metric(1)", "Metric"),
        Binding("M", "metric(-1)", "Metric before", show=False),
        Binding("l", "log_scale", "Log scale", show=False),
        Binding("p", "preview", "Curves", show=False),
        Binding("a", "archived", "Archived"),
        Binding("r", "refresh", "Reload", show=False),
        Binding("escape", "clear", "Clear", show=False),
        Binding("q", "app.quit", "Quit"),
    ]

    class Read(Message):
        """Runs were read, or there was a problem."""

        def __init__(
            self,
            runs: list[records.Run] | None,
            problem: str,
            limit: int | None,
            took: float,
        ) -> None:
            super().__init__()
            self.runs, self.problem = runs, problem
            self.limit, self.took = limit, took

    def __init__(
        self, source: run_source.RunSource, *, refresh_secs: float = _REFRESH_SECS
    ) -> None:
        super().__init__()
        self._source = source
        self._refresh_secs = refresh_secs
        self._loaded: list[records.Run] = []
        self._scope = runs_tree.Scope()
        self._where = ""
        self._sort = _NEWEST_FIRST
        self._archived = False
        self._is_loading = False
        self._next_load = 0.0

    def compose(self) -> ComposeResult:
        """Makes the widgets."""
        yield Static(id="summary", markup=False)
        yield Input(id="filter", placeholder="eval.accuracy > 0.9 and 'good' in tags")
        yield Static(id="problem", markup=False)
        with Horizontal():
            yield runs_tree.RunsTree()
            with Vertical():
                yield runs_table.RunsTable()
                yield curve_view.CurveView(self._source, id="preview")
        yield Footer()

    def on_mount(self) -> None:
        """Shows the newest runs at once, all of them soon, and news as they come."""
        self._table.focus()
        self._load(limit=_FIRST_RUNS)
        self.set_interval(self._refresh_secs, self._refresh)

    @property
    def _table(self) -> runs_table.RunsTable:
        return self.query_one(runs_table.RunsTable)

    @property
    def _preview(self) -> curve_view.CurveView:
        return self.query_one("#preview", curve_view.CurveView)

    def _refresh(self) -> None:
        if not self._is_loading and time.monotonic() >= self._next_load:
            self._load()

    def _load(self, *, limit: int | None = None) -> None:
        self._is_loading = True
        self.run_worker(
            lambda: self._read(limit), thread=True, exclusive=True, group="runs"
        )

    def _read(self, limit: int | None) -> None:
        worker = get_current_worker()
        begin = time.monotonic()
        runs: list[records.Run] | None = None
        problem = ""
        try:
            runs = self._source.runs(
                self._where or None, self._sort, archived=self._archived, limit=limit
            )
        except errors.UserError as e:
            problem = str(e)
        took = time.monotonic() - begin
        if not worker.is_cancelled:
            self.post_message(self.Read(runs, problem, limit, took))

    def on_runs_screen_read(self, event: Read) -> None:
        """Shows what was read; after the first runs come all."""
        self._is_loading = False
        # However many runs there are, most of the time is left for other things.
        self._next_load = time.monotonic() + 5 * event.took
        shown = self.query_one("#problem", Static)
        shown.update(event.problem)
        shown.display = bool(event.problem)
        if event.runs is None:
            return
        self._loaded = event.runs
        self._show()
        if event.limit is not None and len(event.runs) == event.limit:
            self._load()

    def _show(self) -> None:
        runs = [run for run in self._loaded if self._scope.has(run)]
        self.query_one(runs_tree.RunsTree).show(self._loaded)
        self._table.show(runs, sort=self._sort)
        self._summarise(runs)

    def _summarise(self, runs: list[records.Run]) -> None:
        counts: dict[str, int] = {}
        for run in runs:
            status = shown_values.status_of(run)
            counts[status] = counts.get(status, 0) + 1
        parts = [f"{count:,} {status}" for status, count in sorted(counts.items())]
        if self._where:
            parts.append(f"where {self._where}")
        if self._table.marked:
            parts.append(f"{len(self._table.marked)} marked")
        text = f"{len(runs):,} runs: {', '.join(parts)}" if runs else self._nothing()
        self.query_one("#summary", Static).update(text)

    def _nothing(self) -> str:
        if self._where:
            return f"No run where {self._where}. Escape shows all."
        return "No run yet: `kauldron runs index FOLDER` finds those in a folder."

    # What widgets tell.

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted) -> None:
        """Shows the runs of what is chosen in the tree."""
        if event.node.data is not None and event.node.data != self._scope:
            self._scope = event.node.data
            self._show()

    def on_runs_table_opened(self, event: runs_table.RunsTable.Opened) -> None:
        """Opens a run."""
        self.app.push_screen(run_screen.RunScreen(self._source, event.run))

    def on_runs_table_chosen(self) -> None:
        """Draws the curves of the marked runs, or of the one below the cursor."""
        runs = self._marked() or [run for run in [self._table.current] if run]
        if not self._preview.has_class("hidden"):
            self._preview.show(runs[:_MOST_COMPARED])
        self._summarise(list(self._table.runs))

    def on_runs_table_sorted_by(self, event: runs_table.RunsTable.SortedBy) -> None:
        """Sorts by a column; the other way round if it is that already."""
        same = event.name == self._sort.lstrip("-")
        largest_first = not self._sort.startswith("-") if same else True
        self._sort_by(event.name, largest_first=largest_first)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Applies the filter."""
        self._where = event.value.strip()
        self._hide_filter()
        self._load()

    # What keys do.

    def action_filter(self) -> None:
        """Asks for a filter."""
        field = self.query_one("#filter", Input)
        field.value = self._where
        field.add_class("shown")
        field.focus()

    def _hide_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("shown")
        self._table.focus()

    def action_clear(self) -> None:
        """Leaves the filter's line; then takes marks away; then the filter."""
        if self.query_one("#filter", Input).has_class("shown"):
            self._hide_filter()
        elif self._table.marked:
            self._table.unmark()
        elif self._where:
            self._where = ""
            self._load()

    def action_compare(self) -> None:
        """Compares the marked runs."""
        runs = self._marked()
        if len(runs) < 2:
            self.notify("Mark two runs or more with the space bar.", severity="warning")
            return
        self.app.push_screen(compare_screen.CompareScreen(self._source, runs))

    def _marked(self) -> list[records.Run]:
        by_id = {run.id: run for run in self._loaded}
        return [by_id[id] for id in self._table.marked if id in by_id]

    def action_sort(self) -> None:
        """Sorts by the next column that is shown."""
        names = self._table.sort_names
        now = self._sort.lstrip("-")
        place = names.index(now) + 1 if now in names else 0
        self._sort_by(names[place % len(names)], largest_first=True)

    def action_reverse(self) -> None:
        """Sorts the other way round."""
        name = self._sort.lstrip("-")
        self._sort_by(name, largest_first=not self._sort.startswith("-"))

    def _sort_by(self, name: str, *, largest_first: bool) -> None:
        self._sort = f"-{name}" if largest_first else name
        self._load()

    def action_metric(self, by: int) -> None:
        """Draws another metric."""
        self._preview.next_metric(by)

    def action_log_scale(self) -> None:
        """Changes the scale of the curves."""
        self._preview.toggle_log_scale()

    def action_preview(self) -> None:
        """Shows or hides the curves below the table."""
        self._preview.toggle_class("hidden")
        self.on_runs_table_chosen()

    def action_archived(self) -> None:
        """Shows archived runs, too, or no longer."""
        self._archived = not self._archived
        self.notify(f"Archived runs are {'shown' if self._archived else 'left out'}.")
        self._load()

    def action_refresh(self) -> None:
        """Looks for news now."""
        self._load()
