"""The table of runs: draws only the rows that are on the screen, so it may be long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich import cells as cells_lib
from rich.segment import Segment
from rich.style import Style
from textual import events, geometry, strip
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView

from kauldron.tracking.pages.terminal import columns as columns_lib
from kauldron.tracking.registry import records, shown_values


class RunsTable(ScrollView, can_focus=True):
    """Runs, one per line, below a head that stays.

    Attributes:
      cursor: The line that keys act on.
      marked: Ids of the runs that are to be compared, in the order they were marked.
    """

    DEFAULT_CSS = """
    RunsTable { height: 1fr; overflow-x: hidden; }
    RunsTable > .runs--head { text-style: bold; color: $text-muted; background: $surface; }
    RunsTable > .runs--cursor { background: $primary-muted; color: $text; }
    RunsTable:focus > .runs--cursor { background: $primary 60%; color: $text; text-style: bold; }
    RunsTable > .runs--marked { color: $accent; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "runs--head",
        "runs--cursor",
        "runs--marked",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move_page(-1)", "Page up", show=False),
        Binding("pagedown", "move_page(1)", "Page down", show=False),
        Binding("home,g", "move_to(0)", "First", show=False),
        Binding("end,G", "move_to(-1)", "Last", show=False),
        Binding("enter", "open", "Open"),
        Binding("space", "mark", "Mark"),
    ]

    cursor: reactive[int] = reactive(0)

    class Opened(Message):
        """A run is to be looked at."""

        def __init__(self, run: records.Run) -> None:
            super().__init__()
            self.run = run

    class Chosen(Message):
        """Another run is below the cursor, or marks have changed."""

    class SortedBy(Message):
        """The head of a column was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self) -> None:
        super().__init__()
        self.marked: list[str] = []
        self._runs: list[records.Run] = []
        self._columns: list[columns_lib.Column] = []
        self._metrics: list[str] = []
        self._sort = ""

    @property
    def runs(self) -> Sequence[records.Run]:
        """Those in the table, from top to bottom."""
        return self._runs

    @property
    def current(self) -> records.Run | None:
        """The run below the cursor."""
        return self._runs[self.cursor] if self.cursor < len(self._runs) else None

    @property
    def sort_names(self) -> list[str]:
        """What the shown columns sort by."""
        return [column.sort_name for column in self._columns if column.sort_name]

    def show(self, runs: Sequence[records.Run], *, sort: str) -> None:
        """Replaces the runs; the cursor stays on its run.

        Args:
          runs: From top to bottom.
          sort: What they are sorted by, `-` before it if the largest are first.
        """
        before = self.current
        self._runs, self._sort = list(runs), sort
        self._metrics = shown_values.main_metrics(self._runs, count=4)
        self._fit()
        ids = [run.id for run in runs] if before is not None else []
        if before is not None and before.id in ids:
            self.cursor = ids.index(before.id)
        else:
            self.cursor = min(self.cursor, max(len(runs) - 1, 0))
        self.refresh()
        self.post_message(self.Chosen())

    def _fit(self) -> None:
        width = self.size.width or 80
        self._columns = columns_lib.columns_for(
            self._runs[:200], width=width, metrics=self._metrics
        )
        self.virtual_size = geometry.Size(width, len(self._runs) + 1)

    def on_resize(self, event: events.Resize) -> None:
        """Chooses columns that fit, and keeps the cursor on the screen."""
        self._fit()
        self._keep_cursor_shown()

    def watch_cursor(self) -> None:
        """Scrolls to the cursor."""
        self._keep_cursor_shown()
        self.refresh()
        self.post_message(self.Chosen())

    def _keep_cursor_shown(self) -> None:
        top, height = int(self.scroll_offset.y), max(self.size.height - 1, 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def action_move(self, by: int) -> None:
        """Moves the cursor by lines."""
        self.action_move_to(max(0, self.cursor + by))

    def action_move_page(self, by: int) -> None:
        """Moves the cursor by screens."""
        self.action_move(by * max(self.size.height - 2, 1))

    def action_move_to(self, line: int) -> None:
        """Moves the cursor to a line; -1 is the last."""
        last = max(len(self._runs) - 1, 0)
        self.cursor = last if line < 0 else min(line, last)

    def action_open(self) -> None:
        """Opens the run below the cursor."""
        if (run := self.current) is not None:
            self.post_message(self.Opened(run))

    def action_mark(self) -> None:
        """Marks the run below the cursor, or no longer; goes to the next."""
        if (run := self.current) is None:
            return
        if run.id in self.marked:
            self.marked.remove(run.id)
        else:
            self.marked.append(run.id)
        self.action_move(1)
        self.refresh()
        self.post_message(self.Chosen())

    def unmark(self) -> None:
        """Marks nothing."""
        self.marked = []
        self.refresh()
        self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """Goes to the line, opens it if clicked twice; sorts by a head."""
        if event.y > 0:
            line = int(self.scroll_offset.y) + event.y - 1
            if line < len(self._runs):
                self.action_move_to(line)
                if event.chain == 2:
                    self.action_open()
            return
        end = 1
        for column in self._columns:
            end += column.width + 2
            if event.x < end:
                if column.sort_name:
                    self.post_message(self.SortedBy(column.sort_name))
                return

    def render_line(self, y: int) -> strip.Strip:
        """Returns a line of the screen; the first is the head."""
        width = self.size.width
        if y == 0:
            style = self.get_component_rich_style("runs--head")
            cells = [(self._head(column), style) for column in self._columns]
            return self._line(cells, style, width)
        place = int(self.scroll_offset.y) + y - 1
        if place >= len(self._runs):
            return strip.Strip.blank(width, self.rich_style)
        run = self._runs[place]
        base = self.rich_style
        if place == self.cursor:
            base = self.get_component_rich_style("runs--cursor")
        return self._line(self._cells(run, base), base, width)

    def _head(self, column: columns_lib.Column) -> str:
        if not column.sort_name or column.sort_name != self._sort.lstrip("-"):
            return column.title
        return f"{column.title}{'▼' if self._sort.startswith('-') else '▲'}"

    def _cells(self, run: records.Run, base: Style) -> list[tuple[str, Style]]:
        mark, color = columns_lib.STATUS_MARKS[shown_values.status_of(run)]
        cells = []
        for column in self._columns:
            if not column.title:
                style = self.get_component_rich_style("runs--marked", partial=True)
                shown = "◆" if run.id in self.marked else ""
                cells.append((shown, base + style))
            elif column.title == "status":
                is_current = run is self.current
                style = base if is_current else base + Style(color=color)
                cells.append((f"{mark} {column.cell(run)}", style))
            else:
                cells.append((column.cell(run), base))
        return cells

    def _line(
        self, cells: Sequence[tuple[str, Style]], base: Style, width: int
    ) -> strip.Strip:
        segments = [Segment(" ", base)]
        for column, (text, style) in zip(self._columns, cells, strict=True):
            text = "".join(c if c.isprintable() else " " for c in text)
            if cells_lib.cell_len(text) > column.width:
                text = f"{cells_lib.set_cell_size(text, column.width - 1)}…"
            pad = " " * (column.width - cells_lib.cell_len(text))
            text = pad + text if column.is_number else text + pad
            segments += [Segment(text, style), Segment("  ", base)]
        line = strip.Strip(segments)
        return line.adjust_cell_length(width, base)
