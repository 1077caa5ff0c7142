"""One run: its curves, parameters, metrics and log, as long as it trains."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from kauldron._base import errors
from kauldron.tracking.comparing import run_source
from kauldron.tracking.pages import logs
from kauldron.tracking.pages.terminal import columns, curve_view
from kauldron.tracking.registry import records, shown_values

_TABS = ("curves", "parameters", "metrics", "log")


class RunScreen(Screen[None]):
    """A run."""

    DEFAULT_CSS = """
    RunScreen #title { padding: 0 1; background: $panel; height: auto; }
    RunScreen TabbedContent { height: 1fr; }
    RunScreen TabPane { padding: 0; }
    RunScreen VerticalScroll { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "app.pop_screen", "Back"),
        *(
            Binding(str(i), f"tab('{name}')", name.capitalize(), show=False)
            for i, name in enumerate(_TABS, start=1)
        ),
        Binding("right", "next_tab(1)", "Next tab"),
        Binding("left", "next_tab(-1)", "Tab before", show=False),
        Binding("m", "metric(1)", "Metric"),
        Binding("M", "metric(-1)", "Metric before", show=False),
        Binding("l", "log_scale", "Log scale"),
        Binding("r", "reload", "Reload"),
    ]

    class Read(Message):
        """The run was read again, or there was a problem."""

        def __init__(self, run: records.Run | None, problem: str = "") -> None:
            super().__init__()
            self.run, self.problem = run, problem

    def __init__(self, source: run_source.RunSource, run: records.Run) -> None:
        super().__init__()
        self._source, self.shown = source, run

    def compose(self) -> ComposeResult:
        """Makes the tabs."""
        yield Static(id="title", markup=False)
        with TabbedContent(initial="curves"):
            with TabPane("1 Curves", id="curves"):
                yield curve_view.CurveView(self._source)
            for place, name in enumerate(_TABS[1:], start=2):
                with (
                    TabPane(f"{place} {name.capitalize()}", id=name),
                    VerticalScroll(),
                ):
                    yield Static(id=f"{name}-text", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Shows the run, and again every two seconds while it trains."""
        self._show()
        self.set_interval(2, self._follow)

    def _follow(self) -> None:
        if self.shown.status == "running" and self.is_current:
            self.action_reload()

    def action_reload(self) -> None:
        """Reads the run again."""
        self.run_worker(self._read_again, thread=True, exclusive=True, group="run")

    def _read_again(self) -> None:
        try:
            run = self._source.run(self.shown.id)
        except errors.UserError as e:
            self.post_message(self.Read(None, str(e)))
            return
        self.post_message(self.Read(run))

    def on_run_screen_read(self, event: Read) -> None:
        """Shows what was read."""
        if event.run is None:
            self.notify(event.problem, severity="error", markup=False)
            return
        self.shown = event.run
        self._show()

    def _show(self) -> None:
        run = self.shown
        self.query_one("#title", Static).update(_title(run))
        self.query_one(curve_view.CurveView).show([run])
        self.query_one("#parameters-text", Static).update(_parameters(run))
        self.query_one("#metrics-text", Static).update(_metrics(run))
        self.query_one("#log-text", Static).update(Text(logs.read_log(run)))

    def action_tab(self, name: str) -> None:
        """Shows a tab."""
        self.query_one(TabbedContent).active = name
        if name != "curves":
            scroll = self.query_one(f"#{name} VerticalScroll", VerticalScroll)
            scroll.focus()
            if name == "log":
                scroll.scroll_end(animate=False)

    def action_next_tab(self, by: int) -> None:
        """Shows the tab beside."""
        place = _TABS.index(self.query_one(TabbedContent).active) + by
        self.action_tab(_TABS[place % len(_TABS)])

    def action_metric(self, by: int) -> None:
        """Draws another metric."""
        self.query_one(curve_view.CurveView).next_metric(by)

    def action_log_scale(self) -> None:
        """Changes the scale of the curve."""
        self.query_one(curve_view.CurveView).toggle_log_scale()


def _title(run: records.Run) -> Text:
    status = shown_values.status_of(run)
    mark, color = columns.STATUS_MARKS[status]
    place = " / ".join(x for x in (run.project, run.family, run.experiment) if x)
    took = shown_values.format_duration(run.ended - run.started)
    text = Text.assemble(
        (run.id, "bold"),
        f" {run.name}   ",
        (f"{mark} {status}", color),
        f"   step {run.step:,} of {run.num_steps:,}   {took}   {place}   ",
        (" ".join(f"#{tag}" for tag in run.tags), "cyan"),
        f"\n{run.workdir}",
    )
    if run.message:
        text.append(f"\n{run.message}", "red")
    return text


def _parameters(run: records.Run) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("parameter")
    table.add_column("value", overflow="fold")
    for name, value in run.parameters.items():
        table.add_row(Text(name), Text(shown_values.format_value(value)))
    return table


def _metrics(run: records.Run) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    for head in ("last", "at step", "best", "at step"):
        table.add_column(head, justify="right")
    show = shown_values.format_value
    for name, value in run.metrics.items():
        best = (show(value.best), f"{value.best_step:,}") if value.mode else ("", "")
        table.add_row(Text(name), show(value.last), f"{value.last_step:,}", *best)
    return table
