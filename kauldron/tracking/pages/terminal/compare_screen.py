"""Runs side by side: what differs, and their curves in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from kauldron.tracking.comparing import differences, run_source
from kauldron.tracking.pages.terminal import curve_view
from kauldron.tracking.registry import records, shown_values


class CompareScreen(Screen[None]):
    """Two runs or more."""

    DEFAULT_CSS = """
    CompareScreen VerticalScroll { height: 1fr; padding: 0 1; }
    CompareScreen CurveView { height: 1fr; border-top: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "app.pop_screen", "Back"),
        Binding("m", "metric(1)", "Metric"),
        Binding("M", "metric(-1)", "Metric before", show=False),
        Binding("l", "log_scale", "Log scale"),
        Binding("a", "all", "All values"),
    ]

    def __init__(
        self, source: run_source.RunSource, runs: Sequence[records.Run]
    ) -> None:
        super().__init__()
        self._source, self._runs = source, list(runs)
        self._all_values = False

    def compose(self) -> ComposeResult:
        """Makes the table and the picture."""
        with VerticalScroll():
            yield Static(id="differences", markup=False)
        yield curve_view.CurveView(self._source)
        yield Footer()

    def on_mount(self) -> None:
        """Shows the runs."""
        self._show()
        self.query_one(curve_view.CurveView).show(self._runs)

    def _show(self) -> None:
        compared = differences.compare(self._runs, all_values=self._all_values)
        self.query_one("#differences", Static).update(_table(compared))

    def action_metric(self, by: int) -> None:
        """Draws another metric."""
        self.query_one(curve_view.CurveView).next_metric(by)

    def action_log_scale(self) -> None:
        """Changes the scale of the curves."""
        self.query_one(curve_view.CurveView).toggle_log_scale()

    def action_all(self) -> None:
        """Shows what is the same in all runs, too, or no longer."""
        self._all_values = not self._all_values
        self._show()


def _table(compared: differences.Comparison) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        caption=f"{compared.num_equal} parameters and metrics are the same.",
        caption_justify="left",
    )
    table.add_column("")
    for i, run in enumerate(compared.runs):
        color = shown_values.COLORS[i % len(shown_values.COLORS)]
        table.add_column(Text(f"{run.id}\n{run.name}", style=color))
    kind = "run"
    for difference in compared.differences:
        if difference.kind != kind:
            kind = difference.kind
            table.add_row(Text(f"{kind}s", style="dim"))
        best = difference.best
        mode = f" ({difference.mode})" if difference.mode else ""
        table.add_row(
            Text(f"{difference.name}{mode}"),
            *(
                Text(
                    shown_values.format_value(value),
                    style="bold green" if i in best else "",
                )
                for i, value in enumerate(difference.values)
            ),
        )
    return table
