"""Curves of runs, drawn anew for the size they have on the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from kauldron._base import errors
from kauldron.tracking.comparing import curves as curves_lib
from kauldron.tracking.comparing import run_source, terminal_plots
from kauldron.tracking.registry import records, shown_values


class CurveView(Static):
    """A metric of some runs; which metric, and on which scale, keys can change.

    Attributes:
      metric: What is drawn; empty if the runs have measured nothing.
      log_scale: Whether equal factors are equally far apart.
    """

    class Drawn(Message):
        """A drawing is done."""

        def __init__(self, text: Text) -> None:
            super().__init__()
            self.text = text

    DEFAULT_CSS = "CurveView { height: 1fr; padding: 0 1; }"

    def __init__(self, source: run_source.RunSource, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self.metric = ""
        self.log_scale = False
        self._source = source
        self._runs: list[records.Run] = []

    @property
    def metrics(self) -> list[str]:
        """What can be drawn, the most interesting first."""
        return shown_values.main_metrics(self._runs, count=1000)

    def show(self, runs: Sequence[records.Run]) -> None:
        """Draws the curves of these runs."""
        self._runs = list(runs)
        known = self.metrics
        if self.metric not in known:
            self.metric = known[0] if known else ""
        self.draw()

    def next_metric(self, by: int) -> None:
        """Draws another metric."""
        known = self.metrics
        if known:
            place = known.index(self.metric) if self.metric in known else 0
            self.metric = known[(place + by) % len(known)]
            self.draw()

    def toggle_log_scale(self) -> None:
        """Changes between equal distances and equal factors."""
        self.log_scale = not self.log_scale
        self.draw()

    def on_resize(self) -> None:
        """Draws in the new size."""
        self.draw()

    def draw(self) -> None:
        """Reads and draws the curves, in a thread: files may be long, or far away."""
        width, height = self.content_size.width, self.content_size.height
        if not self._runs:
            self.update("")
        elif not self.metric:
            self.update("Nothing was measured yet.")
        elif width > 10 and height > 5:
            drawing = self._drawing(width, height)
            self.run_worker(drawing, thread=True, exclusive=True, group="curves")

    def on_curve_view_drawn(self, event: Drawn) -> None:
        """Shows a drawing."""
        event.stop()
        self.update(event.text)

    def _drawing(self, width: int, height: int) -> Callable[[], None]:
        runs = [run for run in self._runs if self.metric in run.metrics]
        metric, log_scale = self.metric, self.log_scale

        def draw() -> None:
            worker = get_current_worker()
            try:
                found = curves_lib.curves_of(self._source, runs, metric)
                text = Text.from_ansi(
                    terminal_plots.draw_in_terminal(
                        found,
                        width=width,
                        height=max(height - len(found), 6),
                        log_scale=log_scale,
                    )
                )
            except (errors.UserError, OSError) as e:
                text = Text(str(e), style="red")
            if not worker.is_cancelled:
                self.post_message(self.Drawn(text))

        return draw
